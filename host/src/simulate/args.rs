//! `tapline simulate`: options as S3's simulator had them, and more devices.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::device::{Device, DeviceOptions, Family};
use super::player::{Played, Player};
use super::scenario::{Scenario, ScenarioName};
use crate::broker::{Clock, OutletOptions, PublishError};
use crate::config::site::{Broker, Ceiling, MqttVersion, Secret, Tls, Transport};
use crate::message::Publication;

/// Publishes what a real machine with a power meter would.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Host name or address of the broker.
    #[arg(long, env = "MQTT_BROKER", default_value = "localhost")]
    pub broker: String,
    /// Port of the broker [default: 8883, with --no-tls 1883].
    #[arg(long, env = "MQTT_PORT")]
    pub port: Option<u16>,
    /// Connect without TLS.
    #[arg(long)]
    pub no_tls: bool,
    /// Authorities that sign the broker's certificate, as PEM [default: the system's].
    #[arg(long, value_name = "FILE", conflicts_with = "no_tls")]
    pub ca: Option<PathBuf>,
    /// User name at the broker.
    #[arg(long, env = "MQTT_USERNAME")]
    pub username: Option<String>,
    /// Password at the broker; better given by the environment, where `ps` does not show it.
    #[arg(long, env = "MQTT_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// Speak MQTT 3.1.1 in place of 5.
    #[arg(long)]
    pub v311: bool,
    /// What happens to the machine.
    #[arg(long, value_enum, default_value = "full_session")]
    pub scenario: ScenarioName,
    /// How long it takes: seconds, or as `2m 30s`.
    #[arg(long, value_parser = duration, default_value = "90")]
    pub duration: Duration,
    /// How long `offline_test` is away.
    #[arg(long, value_parser = duration, default_value = "30")]
    pub offline_duration: Duration,
    /// Whose messages the device speaks.
    #[arg(long, value_enum, default_value = "shelly")]
    pub family: Family,
    /// Id of the device [default: shellypmminig3-sim or tasmota-sim].
    #[arg(long)]
    pub device: Option<String>,
    /// In place of the id in a Shelly's topics; before `tele` in a Tasmota's.
    #[arg(long)]
    pub topic_prefix: Option<String>,
    /// Component of a Shelly: pm1:0 or switch:0.
    #[arg(long, default_value = "pm1:0")]
    pub component: String,
    /// This many devices, numbered from 1.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub count: u16,
    /// Time between two readings.
    #[arg(long, value_parser = duration, default_value = "1")]
    pub interval: Duration,
    /// Play the scenario this many times faster. The times that devices state stay true.
    #[arg(long, value_parser = factor, default_value = "1")]
    pub speed: f64,
    /// One JSON line for each publication on stdout.
    #[arg(long)]
    pub json: bool,
}

/// Why a simulation ends early.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    #[error("cannot play at `{address}`")]
    Broker { address: String, source: PublishError },
    #[error("cannot write to standard output")]
    Output(#[source] std::io::Error),
    #[error("a simulated device broke down")]
    Broken(#[from] tokio::task::JoinError),
}

/// Plays the scenario on every device to its end.
pub async fn run(args: Args, clock: Clock) -> Result<(), SimulateError> {
    let broker = Arc::new(broker(&args));
    let scenario = args.scenario.scenario(args.duration, args.offline_duration);
    let mut players = JoinSet::new();
    for number in 1..=args.count {
        let player = player(&args, number, &broker, &clock);
        players.spawn(play(player, scenario.clone(), args.json, Arc::clone(&clock)));
    }
    while let Some(played) = players.join_next().await {
        played??;
    }
    Ok(())
}

async fn play(
    mut player: Player,
    scenario: Scenario,
    json: bool,
    clock: Clock,
) -> Result<(), SimulateError> {
    let id = player.device.id().to_owned();
    let address = format!("{}:{}", player.outlet.broker.host, player.outlet.broker.port);
    eprintln!("{id}: connecting to {address}, power on {}", player.device.topic());
    let mut said: u64 = 0;
    let mut output = Ok(());
    let played = player.play(&scenario, |what| match what {
        Played::Online(at) => eprintln!("{id}: online after {} s", at.as_secs()),
        Played::Offline(at) => {
            eprintln!("{id}: offline after {} s, without a farewell", at.as_secs())
        }
        Played::Published(publication, Ok(())) => {
            said += 1;
            if json && output.is_ok() {
                output = print(publication, &clock);
            } else if said.is_multiple_of(20) {
                eprintln!("{id}: {said} messages published");
            }
        }
        Played::Published(publication, Err(error)) => {
            eprintln!("{id}: not published on {}: {error}", publication.topic);
        }
    });
    played.await.map_err(|source| SimulateError::Broker { address, source })?;
    eprintln!("{id}: done, {said} messages published");
    output
}

fn print(publication: &Publication, clock: &Clock) -> Result<(), SimulateError> {
    let line = serde_json::json!({
        "at": clock().rfc3339(),
        "topic": publication.topic,
        "payload": String::from_utf8_lossy(&publication.payload),
        "qos": publication.qos,
        "retain": publication.retain,
    });
    writeln!(std::io::stdout().lock(), "{line}").map_err(SimulateError::Output)
}

fn player(args: &Args, number: u16, broker: &Arc<Broker>, clock: &Clock) -> Player {
    let name = args.device.as_deref().unwrap_or(match args.family {
        Family::Shelly => "shellypmminig3-sim",
        Family::Tasmota => "tasmota-sim",
    });
    let numbered =
        |name: &str| if args.count > 1 { format!("{name}-{number}") } else { name.to_owned() };
    let id = numbered(name);
    // A Tasmota's id stands in its topics beside the prefix, a Shelly's does not.
    let topic_prefix = args.topic_prefix.as_deref().map(|prefix| match args.family {
        Family::Shelly => numbered(prefix),
        Family::Tasmota => prefix.to_owned(),
    });
    let options = DeviceOptions {
        topic_prefix,
        component: args.component.clone(),
        ..DeviceOptions::new(args.family, &id)
    };
    Player {
        device: Device::new(options),
        outlet: OutletOptions {
            broker: Arc::clone(broker),
            client_id: id,
            presence: None,
            clock: Arc::clone(clock),
        },
        interval: args.interval,
        speed: args.speed,
    }
}

fn broker(args: &Args) -> Broker {
    Broker {
        name: "simulated".to_owned(),
        transport: if args.no_tls { Transport::Tcp } else { Transport::Tls },
        host: args.broker.clone(),
        port: args.port.unwrap_or(if args.no_tls { 1883 } else { 8883 }),
        path: String::new(),
        version: if args.v311 { MqttVersion::V311 } else { MqttVersion::V5 },
        client_id: String::new(),
        username: args.username.clone().filter(|name| !name.is_empty()),
        password: args.password.as_deref().map(Secret::new),
        keep_alive: Duration::from_secs(60),
        connect_timeout: Duration::from_secs(10),
        clean_start: true,
        session_expiry: Duration::ZERO,
        tls: (!args.no_tls).then(|| Tls { ca: args.ca.clone(), client: None }),
        max_packet: 1 << 20,
        ceiling: Ceiling { messages: 1000, bytes: 1 << 20 },
        status_topic: String::new(),
        sys_topics: false,
        pushed: false,
    }
}

/// Seconds, or a duration with units.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?,
        Err(_) => humantime::parse_duration(text).map_err(|error| error.to_string())?,
    };
    if parsed.is_zero() || parsed > Duration::from_secs(366 * 86_400) {
        return Err("must be more than nothing and at most a year".to_owned());
    }
    Ok(parsed)
}

fn factor(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if (0.01..=1000.0).contains(&factor) => Ok(factor),
        _ => Err("must be a number from 0.01 to 1000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::broker::fake::{FakeBroker, Packet};
    use crate::message::Timestamp;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parse(words: &str) -> Args {
        Cli::try_parse_from(std::iter::once("simulate").chain(words.split_whitespace()))
            .unwrap()
            .args
    }

    #[test]
    fn takes_the_options_of_s3() {
        let args = parse(
            "--broker b --port 1884 --no-tls --username u --password p --scenario offline_test --duration 60 --offline-duration 2m",
        );
        assert_eq!(
            (args.duration, args.offline_duration),
            (Duration::from_secs(60), Duration::from_secs(120))
        );
        let broker = broker(&args);
        assert_eq!((broker.transport, broker.port), (Transport::Tcp, 1884));
        for bad in ["--duration 0", "--duration 1e300", "--duration nan", "--speed 0", "--count 0"]
        {
            let words = std::iter::once("simulate").chain(bad.split(' '));
            assert!(Cli::try_parse_from(words).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn an_offline_test_vanishes_and_comes_back() {
        let broker = FakeBroker::start().await.unwrap();
        let port = broker.address().port();
        let args = parse(&format!(
            "--broker 127.0.0.1 --port {port} --no-tls --scenario offline_test --duration 10 --offline-duration 5 --speed 20"
        ));
        run(args, Arc::new(|| Timestamp(1_700_000_000_000))).await.unwrap();
        let log = broker
            .wait_for(Duration::from_secs(5), |log| {
                log.iter().filter(|entry| entry.packet == Packet::Closed).count() == 2
            })
            .await
            .unwrap();
        let of = |connection: usize| {
            log.iter()
                .filter(move |entry| entry.connection == connection)
                .map(|entry| &entry.packet)
        };
        let Some(Packet::Connect { will, .. }) = of(1).next() else { panic!("{log:?}") };
        assert_eq!(*will, Some(("shellypmminig3-sim/online".into(), b"false".to_vec())));
        assert!(!of(1).any(|packet| matches!(packet, Packet::Disconnect { .. })));
        assert!(of(2).any(|packet| matches!(packet, Packet::Disconnect { .. })));
        for connection in [1, 2] {
            let said = of(connection)
                .filter(|packet| matches!(packet, Packet::Publish { topic, .. } if topic == "shellypmminig3-sim/status/pm1:0"))
                .count();
            assert!(said >= 4, "{said}");
        }
    }
}
