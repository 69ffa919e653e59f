//! A stream of trades, whole: a subscription with keys, a filter, indicators by symbol, signals to topics, a webhook and an
//! index, as one file of pipelines.

use serde_json::{Value, json};

use crate::support::balance::Balance;
use crate::support::files::read;
use crate::support::kafka::{Other, shared};
use crate::support::peers::http_server;
use crate::support::{FakeServer, Frame, require, run, scratch, text, write};

/// Size and price choose trades, whatever else the stream brings; what is not needed stays behind.
const JQ: &str = r#"if type == "array" then .[] else . end | select(.T == "t" and .s >= 100 and .p > 0)
| {symbol: .S, price: .p, size: .s, time: .t, exchange: .x, value: (.p * .s)}"#;
/// Change, change in per cent, and a price weighted by what came before; each of its symbol.
const FOLD: &str = r"(if $prev then .price - $prev.price else 0 end) as $change
| (if $prev then $change / $prev.price * 100 | . * 100 | round / 100 else 0 end) as $pct
| (if $state then $state * 0.95 + .price * 0.05 else .price end) as $vwap
| [$vwap, . + {change: $change, pct: $pct, vwap: ($vwap * 100 | round / 100), alert: ($pct | fabs > 2)}]";

fn trade(symbol: &str, price: f64, size: u32) -> Value {
    json!({
        "T": "t", "S": symbol, "i": 52_983_525_029_461_u64, "x": "D", "p": price, "s": size, "c": ["@"],
        "t": "2026-01-15T14:30:05.123456Z", "z": "C"
    })
}

/// Wants the keys and the subscription, then sends trades of two symbols, mixed with what is filtered out.
fn exchange() -> FakeServer {
    FakeServer::once(|request| {
        assert_eq!(request.header("apca-api-key-id"), Some("key"));
        assert_eq!(request.header("apca-api-secret-key"), Some("secret"));
        let mut socket = request.accept();
        let wanted: Value = serde_json::from_str(&socket.read_text()).expect("a subscription");
        assert_eq!(wanted, json!({ "action": "subscribe", "trades": ["AAPL", "MSFT"] }));
        socket.say(Frame::text(r#"[{"T":"success","msg":"authenticated"}]"#));
        for message in [
            trade("AAPL", 200.0, 600),
            trade("MSFT", 400.0, 700),
            json!({ "T": "q", "S": "AAPL", "bp": 1.0, "ap": 2.0 }),
            // Two per cent down, in a large block: buy.
            trade("AAPL", 196.0, 600),
            // Three per cent up: sell, and no spike yet. Of the other message there is too little.
            json!([trade("MSFT", 412.0, 600), trade("MSFT", 900.0, 99)]),
            // Five per cent up, in a small block: a spike alone.
            trade("AAPL", 205.8, 200),
            trade("AAPL", 205.8, 2000),
            // Ten per cent down: buy and a spike.
            trade("MSFT", 370.8, 800),
            trade("MSFT", 0.0, 800),
        ] {
            socket.say(Frame::text(&message.to_string()));
        }
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    })
}

#[test]
fn trades_become_signals_alerts_and_an_index() {
    if !require("kafka") || !require("python-websockets") {
        return;
    }
    let (directory, exchange, kafka) = (scratch(), exchange(), shared());
    let (webhook, index) = (http_server(&json!({})), http_server(&json!({})));
    let other = Other(&kafka);
    let (buy, sell) = (other.create("trading-buy", 1, &[]), other.create("trading-sell", 1, &[]));
    let volume = text(&directory.path().join("volume"));
    let signal = |name: &str| format!("{{signal: \"{name}\", symbol, price, pct}}");
    let file = format!(
        r#"[[pipeline]]
name = "trading"
from = "{from}"
to = ["{index}"]
header = ["APCA-API-KEY-ID: key", "APCA-API-SECRET-KEY: secret"]
init = ['{{"action":"subscribe","trades":["AAPL","MSFT"]}}']
jq = '''{JQ}'''
state-key = ".symbol"
fold = '''{FOLD}'''
route-all = true

[[pipeline.route]]
when = ".pct < -1.5 and .size > 500"
to = "kafka://{kafka}/{buy}?key=.symbol"
jq = '{buying}'

[[pipeline.route]]
when = ".pct > 1.5 and .size > 500"
to = "kafka://{kafka}/{sell}?key=.symbol"
jq = '{selling}'

[[pipeline.route]]
when = ".size > 1000"
to = "file:{volume}"
jq = "{{symbol, size, value}}"

[[pipeline.route]]
when = ".pct | fabs > 3"
to = "{webhook}"
jq = '{{text: "\(.symbol) moved by \(.pct) %", alert}}'
"#,
        from = exchange.url,
        index = index.url,
        webhook = webhook.url,
        buying = signal("buy"),
        selling = signal("sell"),
    );
    let file = text(&write(&directory, "relay.toml", file));
    let output = run(&["relay", "-f", &file], "").exits(0);
    exchange.join();
    // What came with nothing in it that passes the filter is filtered out.
    let expected = Balance { delivered: 7, filtered: 3, ..Balance::all_delivered(10) };
    assert_eq!(Balance::of(&output), expected, "{}", output.stderr);
    let of_topic = |topic: &str, count: usize| -> Vec<(Value, Value)> {
        let record = |record: Value| {
            let value = record["value"].as_str().expect("text");
            (record["key"].clone(), serde_json::from_str(value).expect("JSON"))
        };
        other.read(topic, count).into_iter().map(record).collect()
    };
    let signal = |name: &str, symbol: &str, price: f64, pct: f64| {
        (json!(symbol), json!({ "signal": name, "symbol": symbol, "price": price, "pct": pct }))
    };
    assert_eq!(of_topic(&buy, 2), [signal("buy", "AAPL", 196.0, -2.0), signal("buy", "MSFT", 370.8, -10.0)]);
    assert_eq!(of_topic(&sell, 1), [signal("sell", "MSFT", 412.0, 3.0)]);
    let volume: Value = serde_json::from_str(&read(volume.as_ref())).expect("one line");
    assert_eq!(volume, json!({ "symbol": "AAPL", "size": 2000, "value": 411_600.0 }));
    let told = webhook.stop();
    let alerts: Vec<Value> = told.iter().map(|told| serde_json::from_str(told.text()).expect("JSON")).collect();
    let alert = |text: &str| json!({ "text": text, "alert": true });
    assert!(
        alerts.len() == 2 && alerts[0] == alert("AAPL moved by 5.0 %") && alerts[1] == alert("MSFT moved by -10.0 %"),
        "{alerts:?}"
    );
    // What gave no signal is indexed, with its indicators.
    let indexed = index.stop();
    let indexed: Vec<Value> = indexed.iter().map(|told| serde_json::from_str(told.text()).expect("JSON")).collect();
    let of = |trade: &Value| (trade["symbol"].clone(), trade["price"].clone(), trade["pct"].clone());
    assert_eq!(
        indexed.iter().map(of).collect::<Vec<_>>(),
        [(json!("AAPL"), json!(200.0), json!(0)), (json!("MSFT"), json!(400.0), json!(0))]
    );
    assert_eq!((&indexed[0]["vwap"], &indexed[0]["alert"]), (&json!(200.0), &json!(false)));
}
