//! What whoever can reach the API's port can do to it: hold connections open, send slowly, send
//! much, send nonsense.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use tapline_tests::{Bench, PATIENCE, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// All of 127/8 is this machine, so one host can be many.
async fn connect(port: u16, from: [u8; 4]) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(from)), 0))?;
    socket.connect(SocketAddr::from(([127, 0, 0, 1], port))).await
}

/// The status of `GET /health` for somebody at this address.
async fn health(port: u16, from: [u8; 4]) -> Result<String, String> {
    let words = |error: std::io::Error| error.to_string();
    let mut stream = connect(port, from).await.map_err(words)?;
    let request = b"GET /health HTTP/1.1\r\nhost: tapline\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.map_err(words)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.map_err(words)?;
    if answer.starts_with("HTTP/1.1 200") { Ok(answer) } else { Err(format!("`{answer}`")) }
}

#[tokio::test]
async fn a_thousand_idle_connections_of_one_address_keep_nobody_else_out() {
    let mut bench = Bench::start().await;
    let port = bench.tapline.port();
    let mut idle = Vec::new();
    for _ in 0..1000 {
        // One that is refused is as good as one that is closed at once.
        if let Ok(stream) = connect(port, [127, 0, 0, 66]).await {
            idle.push(stream);
        }
    }
    let answer = tokio::time::timeout(PATIENCE, health(port, [127, 0, 0, 7])).await;
    answer.expect("others are answered").expect("with 200");
    let over_the_socket = bench.tapline.output(&["sinks"]).await;
    assert!(over_the_socket.status.success());
    // Who never sends a request is cut off, and then has room for one.
    eventually("the crowd itself is answered again", || health(port, [127, 0, 0, 66])).await;
    drop(idle);
    assert!(bench.tapline.terminate().await.success());
}

#[tokio::test]
async fn headers_that_never_end_are_cut_off() {
    let bench = Bench::start().await;
    let mut stream = connect(bench.tapline.port(), [127, 0, 0, 66]).await.expect("a connection");
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: tapline\r\n").await.expect("sent");
    let mut rest = Vec::new();
    let drip = async {
        let mut n = 0;
        // Until the other side has had enough.
        loop {
            let byte = [b'a' + (n % 26) as u8];
            tokio::select! {
                read = stream.read_to_end(&mut rest) => break read,
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
            }
            if let Err(error) = stream.write_all(&byte).await {
                break Err(error);
            }
            n += 1;
        }
    };
    let ended = tokio::time::timeout(PATIENCE, drip).await.expect("it is cut off");
    drop(ended);
    assert!(!String::from_utf8_lossy(&rest).contains(" 200 "), "{rest:?}");
    health(bench.tapline.port(), [127, 0, 0, 66]).await.expect("it goes on");
}

#[tokio::test]
async fn nonsense_is_answered_with_words() {
    let bench = Bench::start().await;
    let limit = PATIENCE;
    let http = tapline::delivery::http_client(None, limit, limit).expect("a client");
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let keyed = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    let devices = format!("{{\"devices\":[{}]}}", vec!["null"; 100_000].join(","));
    for body in [nested, keyed, devices, "null".to_owned(), "\"\\ud800\"".to_owned()] {
        let begin: String = body.chars().take(40).collect();
        let answer = http.post(format!("{}/config", bench.tapline.url())).body(body).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), 422, "{begin}");
        let text = answer.text().await.expect("text");
        assert!(text.len() < 1 << 20, "{begin}: an answer of {} bytes", text.len());
        let said: Value = serde_json::from_str(&text).expect("JSON");
        assert!(!said["message"].as_str().expect("words").is_empty());
    }
    let health = bench.tapline.health().await;
    assert_eq!(health["last_config_update"], Value::Null);
}
