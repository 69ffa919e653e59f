//! Trades and sensor readings that look like some (pure): the same seed makes the same ones.

use fastrand::Rng;

/// Assets, and what they cost at first.
const ASSETS: [(&str, f64); 5] =
    [("EUR/USD", 1.0842), ("BTC/EUR", 61_250.0), ("ETH/EUR", 2_410.5), ("東京/JPY", 38_120.0), ("GLD", 231.4)];
/// Sensors, and what they show at first.
const SENSORS: [(&str, f64); 4] = [("boiler", 71.0), ("cellar", 14.5), ("kitchen", 21.0), ("greenhouse", 27.5)];

/// Single measurements in a reading.
const SAMPLES: usize = 64;

/// Levels on each side of a trade.
const LEVELS: usize = 14;

/// What has happened so far.
#[derive(Debug)]
pub(super) struct Feed {
    random: Rng,
    seq: u64,
    prices: [f64; ASSETS.len()],
    degrees: [f64; SENSORS.len()],
}

impl Feed {
    /// From the beginning.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: Rng::with_seed(seed),
            seq: 0,
            prices: ASSETS.map(|(_, price)| price),
            degrees: SENSORS.map(|(_, degrees)| degrees),
        }
    }

    /// The next message.
    pub(super) fn next(&mut self) -> String {
        self.seq += 1;
        let seq = self.seq;
        if self.random.u8(..4) == 0 {
            let place = self.random.usize(..SENSORS.len());
            let (sensor, usual) = SENSORS[place];
            // It wanders, and finds back.
            let degrees = &mut self.degrees[place];
            *degrees += (self.random.f64() - 0.5) * 0.8 + (usual - *degrees) * 0.05;
            let degrees = *degrees;
            let humidity = 35 + self.random.u8(..30);
            let samples: Vec<_> =
                (0..SAMPLES).map(|_| format!("{:.2}", degrees + (self.random.f64() - 0.5) * 0.3)).collect();
            let samples = samples.join(",");
            return format!(
                r#"{{"type":"reading","seq":{seq},"sensor":"{sensor}","celsius":{degrees:.1},"humidity":{humidity},"samples":[{samples}]}}"#
            );
        }
        let place = self.random.usize(..ASSETS.len());
        let asset = ASSETS[place].0;
        self.prices[place] *= 1.0 + (self.random.f64() - 0.5) * 0.002;
        let price = self.prices[place];
        let places = if price < 10.0 { 4 } else { 2 };
        let amount = 1 + self.random.u32(..500);
        let side = if self.random.bool() { "buy" } else { "sell" };
        let (bids, asks) = (self.levels(price, -1.0, places), self.levels(price, 1.0, places));
        format!(
            r#"{{"type":"trade","seq":{seq},"asset":"{asset}","price":{price:.places$},"amount":{amount},"side":"{side}","bids":[{bids}],"asks":[{asks}]}}"#
        )
    }

    /// What others would pay or take, ever further from the price.
    fn levels(&mut self, price: f64, sign: f64, places: usize) -> String {
        let mut level = price;
        let levels: Vec<_> = (0..LEVELS)
            .map(|_| {
                level += sign * price * self.random.f64() * 0.0005;
                format!("[{level:.places$},{}]", 1 + self.random.u32(..900))
            })
            .collect();
        levels.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_feed() {
        let some = |seed| {
            let mut feed = Feed::new(seed);
            (0..500).map(|_| feed.next()).collect::<Vec<_>>()
        };
        assert_eq!(some(7), some(7));
        assert_ne!(some(7), some(8));
        for (place, line) in some(1).iter().enumerate() {
            let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(value["seq"], place + 1);
            assert!(value["price"].as_f64().or(value["celsius"].as_f64()).is_some_and(|number| number > 0.0), "{line}");
        }
    }
}
