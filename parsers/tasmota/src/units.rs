//! From the units that Tasmota can be set to, to ours.

use tapline_sdk::prelude::*;

/// hPa in a conventional millimetre of mercury: 133.3224 Pa (NIST SP 811, appendix B.8).
const HPA_PER_MMHG: f64 = 1.333_224;
/// hPa in an inch of mercury: 3386.389 Pa (same source; Tasmota's `ConvertHgToHpa` too).
const HPA_PER_INHG: f64 = 33.863_89;

/// The units that a message states; they follow the values, and hold for all of them.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Units {
    temperature: Option<Temperature>,
    pressure: Option<Pressure>,
}

#[derive(Clone, Copy, Debug)]
enum Temperature {
    Celsius,
    Fahrenheit,
    /// One that Tasmota did not have when this was written.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
enum Pressure {
    Hectopascal,
    MillimetresOfMercury,
    InchesOfMercury,
    Unknown,
}

impl Units {
    /// Takes what `TempUnit` says.
    pub(crate) fn set_temperature(&mut self, unit: &str) {
        self.temperature = Some(match unit {
            "C" | "c" => Temperature::Celsius,
            "F" | "f" => Temperature::Fahrenheit,
            _ => Temperature::Unknown,
        });
    }

    /// Takes what `PressureUnit` says.
    pub(crate) fn set_pressure(&mut self, unit: &str) {
        self.pressure = Some(match unit.to_ascii_lowercase().as_str() {
            "hpa" => Pressure::Hectopascal,
            "mmhg" => Pressure::MillimetresOfMercury,
            "inhg" => Pressure::InchesOfMercury,
            _ => Pressure::Unknown,
        });
    }

    /// These units, and those of `outer` where these say nothing.
    pub(crate) fn within(self, outer: Self) -> Self {
        Self {
            temperature: self.temperature.or(outer.temperature),
            pressure: self.pressure.or(outer.pressure),
        }
    }

    /// `value` as `quantity` has it; `None` where it is in a unit that nobody knows, because
    /// absent is better than wrong.
    pub(crate) fn convert(self, quantity: Quantity, value: f64) -> Option<f64> {
        match quantity {
            quantity::TEMPERATURE_C | quantity::DEW_POINT_C => match self.temperature {
                None | Some(Temperature::Celsius) => Some(value),
                Some(Temperature::Fahrenheit) => Some(tidy((value - 32.0) / 1.8)),
                Some(Temperature::Unknown) => None,
            },
            quantity::PRESSURE_HPA => match self.pressure {
                None | Some(Pressure::Hectopascal) => Some(value),
                Some(Pressure::MillimetresOfMercury) => Some(tidy(value * HPA_PER_MMHG)),
                Some(Pressure::InchesOfMercury) => Some(tidy(value * HPA_PER_INHG)),
                Some(Pressure::Unknown) => None,
            },
            _ => Some(value),
        }
    }
}

/// Wh of kWh.
pub(crate) fn wh(kwh: f64) -> f64 {
    tidy(kwh * 1000.0)
}

/// To six decimals, far below any device's resolution: 2.491 kWh is 2491 Wh and not
/// 2491.0000000000005.
fn tidy(value: f64) -> f64 {
    const STEP: f64 = 1e6;
    let tidied = (value * STEP).round() / STEP;
    if tidied.is_finite() { tidied } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn converts_by_the_innermost_unit_and_leaves_out_what_it_does_not_know() {
        let mut outer = Units::default();
        outer.set_temperature("F");
        outer.set_pressure("inHg");
        let mut inner = Units::default();
        inner.set_temperature("C");
        let units = inner.within(outer);
        assert_eq!(units.convert(quantity::TEMPERATURE_C, 21.5), Some(21.5));
        assert_eq!(units.convert(quantity::PRESSURE_HPA, 29.92), Some(1013.207589));
        assert_eq!(outer.convert(quantity::DEW_POINT_C, -40.0), Some(-40.0));
        outer.set_temperature("K");
        outer.set_pressure("psi");
        assert_eq!(outer.convert(quantity::TEMPERATURE_C, 294.0), None);
        assert_eq!(outer.convert(quantity::PRESSURE_HPA, 14.7), None);
        assert_eq!(outer.convert(quantity::HUMIDITY_PCT, 50.0), Some(50.0));
    }

    #[test]
    fn keeps_large_values_finite_where_they_are() {
        assert_eq!(wh(1e304), 1e307);
        assert_eq!(wh(2.491), 2491.0);
    }
}
