//! Another version of the `hostile` parser, for tests of shadows: most numbers it reads alike.
//!
//! | payload | `hostile` | here |
//! |---|---|---|
//! | below 1000 | a reading of so many watts | the same |
//! | from 1000 on | a reading of so many watts | of twice as many |
//! | below 0 | a reading of so many watts | nothing |
//! | `items 0` | nothing | a reading of 1 W |
//! | `refuse` | `refused-on-demand` | a reading of 0 W |
//! | `code 1` | a rejection with another code | `refused-otherwise` |
//! | 666 | a reading of so many watts | never returns |
//! | 667 | a reading of so many watts | panics |

use std::hint::black_box;

use tapline_sdk::prelude::*;

tapline_sdk::settings! {
    /// Settings of the parser.
    pub struct Settings {
        /// As the first version has it; it means nothing here.
        pub at_configure: String = String::new(),
    }
}

/// The parser.
pub struct HostileNext;

impl Parser for HostileNext {
    type Settings = Settings;
    const NAME: &'static str = "hostile-next";
    const SUMMARY: &'static str = "Reads some payloads otherwise than the version before";

    fn new(_: Settings) -> Result<Self, String> {
        Ok(Self)
    }

    fn parse(&self, message: &Message) -> Result<Vec<Item>, Rejection> {
        let power = match message.text()? {
            "items 0" => 1.0,
            "refuse" => 0.0,
            "code 1" => return Err(Rejection::new("refused-otherwise", "")),
            "666" => loop {
                black_box(());
            },
            "667" => panic!("this number is a bad one"),
            text => text
                .parse::<f64>()
                .map_err(|_| Rejection::new("not-a-number", "the payload is not a number"))?,
        };
        let reading = |power| vec![Reading::channel("").power_w(power).into()];
        Ok(match power {
            _ if power < 0.0 => Vec::new(),
            _ if power >= 1000.0 => reading(2.0 * power),
            _ => reading(power),
        })
    }
}

tapline_sdk::export_parser!(HostileNext);
