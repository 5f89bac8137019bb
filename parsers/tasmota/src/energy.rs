//! The block `ENERGY`: one meter, or one with several phases.

use serde::de::MapAccess;
use tapline_sdk::prelude::*;

use crate::lenient::{Fields, Series, skip};
use crate::units::wh;

/// What a meter said; each field a number, or one for each phase.
#[derive(Default)]
pub(crate) struct Energy(Vec<(&'static Field, Series)>);

struct Field {
    key: &'static str,
    quantity: Quantity,
    scale: Scale,
    sharing: Sharing,
}

/// The unit that Tasmota has it in.
enum Scale {
    AsIs,
    Kilo,
}

/// What one number for several phases means.
enum Sharing {
    /// Their sum.
    Total,
    /// The same for each: Tasmota's `voltage_common` and `frequency_common`.
    Common,
}

const FIELDS: [Field; 12] = {
    use Scale::{AsIs, Kilo};
    use Sharing::{Common, Total};
    const fn field(key: &'static str, quantity: Quantity, scale: Scale, sharing: Sharing) -> Field {
        Field { key, quantity, scale, sharing }
    }
    [
        field("Power", quantity::POWER_W, AsIs, Total),
        field("ApparentPower", quantity::APPARENT_POWER_VA, AsIs, Total),
        field("ReactivePower", quantity::REACTIVE_POWER_VAR, AsIs, Total),
        field("Factor", quantity::POWER_FACTOR, AsIs, Total),
        field("Voltage", quantity::VOLTAGE_V, AsIs, Common),
        field("Current", quantity::CURRENT_A, AsIs, Total),
        field("Frequency", quantity::FREQUENCY_HZ, AsIs, Common),
        field("Total", quantity::ENERGY_WH, Kilo, Total),
        field("ExportActive", quantity::ENERGY_EXPORTED_WH, Kilo, Total),
        field("Today", quantity::ENERGY_TODAY_WH, Kilo, Total),
        field("Yesterday", quantity::ENERGY_YESTERDAY_WH, Kilo, Total),
        // Wh already, unlike the others.
        field("Period", quantity::ENERGY_PERIOD_WH, AsIs, Total),
    ]
};

impl<'de> Fields<'de> for Energy {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match FIELDS.iter().find(|field| field.key == key) {
            Some(field) => {
                let series = map.next_value()?;
                // The last of equal keys holds, and no payload makes this grow.
                self.0.retain(|(known, _)| known.key != key);
                self.0.push((field, series));
                Ok(())
            }
            None => skip(map),
        }
    }
}

impl Energy {
    /// `energy:total` where there are several phases and sums beside them, then each phase.
    pub(crate) fn into_readings(self) -> impl Iterator<Item = Reading> {
        let phases = self.0.iter().map(|(_, series)| series.phases()).max().unwrap_or_default();
        let mut total = Reading::channel("energy:total");
        let mut each: Vec<_> =
            (0..phases).map(|phase| Reading::channel(format!("energy:{phase}"))).collect();
        for (field, series) in self.0 {
            let scaled = |value: f64| match field.scale {
                Scale::AsIs => value,
                Scale::Kilo => wh(value),
            };
            let set = |reading: &mut Reading, value: Option<f64>| {
                *reading = std::mem::take(reading).set(field.quantity, value.map(scaled));
            };
            match (series, &field.sharing) {
                (Series::One(value), Sharing::Total) if phases > 1 => set(&mut total, value),
                (Series::One(value), _) => each.iter_mut().for_each(|phase| set(phase, value)),
                (Series::Each(values), _) => {
                    each.iter_mut().zip(values).for_each(|(phase, value)| set(phase, value));
                }
            }
        }
        std::iter::once(total).chain(each)
    }
}

impl Series {
    fn phases(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Each(values) => values.len(),
        }
    }
}
