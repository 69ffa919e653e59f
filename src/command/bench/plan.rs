//! From the flags of `wsp bench` to a plan: everything is checked and compiled before the first connection.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use super::{LoadArgs, ModeArg, SpacingArg};
use crate::bench::marker;
use crate::bench::payload::{Matching, Payload, Variant, random_json};
use crate::bench::plan::{Compose, Kind, Load, Plan};
use crate::bench::schedule::{Course, Spacing, parse_stages};
use crate::bench::threshold::{Numbers, Threshold};
use crate::command::options::ConnectionArgs;
use crate::command::settings;
use crate::command::values::{duration, rate, share};
use crate::error::Error;
use crate::filter::{Draft, Template};
use crate::message::MessageKind;
use crate::message::input::InputKind;
use crate::message::io_text::io_text;

/// Measured where nothing is said.
const DURATION: Duration = Duration::from_secs(10);
/// Bytes sent where nothing is said.
const SIZE: usize = 64;
/// Random JSON objects that take turns.
const OBJECTS: usize = 64;
/// The least random JSON object: braces and the marker.
const LEAST_JSON: usize = 30;
/// Most connections.
const MOST_CONNECTIONS: u32 = 1_000_000;
/// Most source addresses.
const MOST_SOURCES: usize = 4096;
/// The rate at which the search for the greatest begins.
const FIRST_RATE: f64 = 1000.0;

/// The plan of a run against `url`.
///
/// # Errors
/// Usage, unreadable files, filters and templates that do not compile.
pub(super) fn plan(url: &str, args: &LoadArgs) -> Result<Plan, Error> {
    refuse(&args.connection)?;
    refuse_nothing(args)?;
    args.connection.filters.set_variables()?;
    let kind = kind(args)?;
    let connection_course = connection_course(args)?;
    // A number of connections is never negative, and not that large.
    #[allow(clippy::cast_sign_loss)]
    let connections = connection_course.as_ref().map_or(args.connections as usize, |(_, most)| *most as usize);
    let (payload, payload_text) = payload(args)?;
    let matching = matching(args, kind, &payload)?;
    let mut connect = settings::connect_options(url, &args.connection, false)?;
    connect.tls.resume = args.tls_resume;
    let init =
        args.connection.init.iter().map(|text| init(text, args.connection.template)).collect::<Result<_, _>>()?;
    let init_waits =
        args.connection.init_wait.iter().map(|text| settings::filter("--init-wait", text)).collect::<Result<_, _>>()?;
    Ok(Plan {
        connect,
        sources: args.source_ip.as_deref().map(sources).transpose()?.unwrap_or_default(),
        kind,
        connections,
        connection_course: connection_course.map(|(course, _)| course),
        connect_rate: args.connect_rate,
        load: load(args)?,
        duration: args.duration.unwrap_or(DURATION),
        messages: args.messages,
        warmup: args.warmup,
        payload,
        payload_text,
        matching,
        deadline: args.deadline,
        churn: args.churn,
        init,
        init_waits,
        ping_interval: Some(args.connection.ping_interval).filter(|interval| !interval.is_zero()),
        ping_timeout: args.connection.ping_timeout,
        close_timeout: args.connection.close_timeout,
        timeout: args.connection.timeout,
        threads: args.threads.map(|threads| threads as usize),
        seed: args.seed,
        stages_text: args.stages.clone(),
        thresholds: args.thresholds.iter().map(|text| threshold("--threshold", text)).collect::<Result<_, _>>()?,
    })
}

/// Times in which nothing could happen are a slip.
fn refuse_nothing(args: &LoadArgs) -> Result<(), Error> {
    if args.duration.is_some_and(|duration| duration.is_zero()) && args.mode != ModeArg::Connect {
        return Err(Error::usage("--duration 0 measures nothing", "-d 10s, or -n 1000 for a number of messages"));
    }
    if args.deadline.is_zero() {
        return Err(Error::usage("--deadline 0 would count every message as lost", "--deadline 5s"));
    }
    Ok(())
}

/// Connection options that have no meaning here are refused, not ignored.
fn refuse(args: &ConnectionArgs) -> Result<(), Error> {
    let given = [
        (args.reconnect.is_some(), "--reconnect", "--churn opens connections anew, on purpose"),
        (args.resume.is_some(), "--resume", "wsp connect resumes after a reconnect"),
        (args.heartbeat.is_some(), "--heartbeat", "--ping-interval sends pings"),
        (args.heartbeat_reply.is_some(), "--heartbeat-reply", "wsp connect answers heartbeats"),
        (args.idle_timeout.is_some(), "--idle-timeout", "--deadline says when a message is lost"),
        (args.filters.raw_input, "--raw-input", "--match fifo or marker needs no JSON"),
    ];
    match given.iter().find(|(given, ..)| *given) {
        Some((_, flag, hint)) => Err(Error::usage(format!("wsp bench has no {flag}"), *hint)),
        None => Ok(()),
    }
}

fn kind(args: &LoadArgs) -> Result<Kind, Error> {
    let rates = args.stages.as_ref().is_some_and(|stages| !is_of_connections(stages));
    let is_open = args.rate.is_some() || rates || args.find_max.is_some();
    let mode = match args.mode {
        ModeArg::Echo => Kind::Echo,
        ModeArg::Push => Kind::Push,
        ModeArg::Send => Kind::Send,
        ModeArg::Connect => Kind::Connect,
    };
    let conflict = |flag: &str, hint: &str| {
        Err(Error::usage(format!("{flag} cannot be combined with --mode {}", mode.name()), hint))
    };
    if !mode.sends() {
        if is_open || args.in_flight.is_some() {
            return conflict("a rate or --in-flight", "nothing is sent in this mode");
        }
        if args.messages.is_some() && mode == Kind::Connect {
            return conflict("--messages", "set how long connections are held with -d");
        }
    }
    if args.churn == Some(0) && mode != Kind::Connect {
        return conflict("--churn=0", "--churn=N closes after N answers");
    }
    if args.churn.is_some() && mode == Kind::Send {
        return conflict("--churn", "this mode counts no answers");
    }
    let Some(senders) = args.publish else { return Ok(mode) };
    if mode != Kind::Echo {
        return conflict("--publish", "remove one of them");
    }
    if !is_open {
        return Err(Error::usage(
            "--publish needs --rate or --stages",
            "--rate R is what all senders together send a second",
        ));
    }
    if args.churn.is_some() {
        return Err(Error::usage("--publish and --churn do not go together", "remove one of them"));
    }
    if senders > args.connections {
        return Err(Error::usage(
            format!("--publish {senders} exceeds the number of connections"),
            format!("open as many with -c {senders}"),
        ));
    }
    Ok(Kind::Publish { senders: senders as usize })
}

/// Whether stages are about connections: `10s:500c`.
fn is_of_connections(stages: &str) -> bool {
    stages.split(',').all(|stage| stage.trim().ends_with('c'))
}

/// How many connections are open over time, and the most of them.
fn connection_course(args: &LoadArgs) -> Result<Option<(Course, f64)>, Error> {
    let Some(text) = args.stages.as_ref().filter(|text| is_of_connections(text)) else { return Ok(None) };
    let number = |text: &str| rate(text.trim_end_matches('c')).map(f64::round);
    let stages = parse_stages(text, duration, number)
        .map_err(|error| Error::usage(format!("--stages: {error}"), "for example '10s:100c,1m:=500c'"))?;
    let most = stages.iter().map(|stage| stage.rate).fold(0.0, f64::max);
    if most > f64::from(MOST_CONNECTIONS) {
        return Err(Error::usage(format!("--stages: more than {MOST_CONNECTIONS} connections"), "fewer"));
    }
    let conflict = [
        (args.churn.is_some(), "--churn"),
        (args.publish.is_some(), "--publish"),
        (!args.warmup.is_zero(), "--warmup"),
        (args.find_max.is_some(), "--find-max"),
    ];
    if let Some((_, flag)) = conflict.iter().find(|(given, _)| *given) {
        return Err(Error::usage(
            format!("--stages of connections and {flag} do not go together"),
            "remove one of them",
        ));
    }
    Ok(Some((Course::staged(Duration::ZERO, 0.0, &stages), most)))
}

fn load(args: &LoadArgs) -> Result<Load, Error> {
    if args.in_flight.is_some() && args.stages.as_ref().is_some_and(|stages| !is_of_connections(stages)) {
        return Err(Error::usage(
            "--stages and --in-flight do not go together",
            "use stages of connections (10s:100c)",
        ));
    }
    let spacing = match args.spacing {
        SpacingArg::Even => Spacing::Even,
        SpacingArg::Poisson => Spacing::Poisson,
    };
    if let Some(text) = args.stages.as_ref().filter(|text| !is_of_connections(text)) {
        let stages = parse_stages(text, duration, rate)
            .map_err(|error| Error::usage(format!("--stages: {error}"), "for example '10s:1k,1m:50k' or '10s:=1k'"))?;
        return Ok(Load::Open { rate: args.rate.unwrap_or_default(), stages, spacing });
    }
    let searched = args.find_max.is_some().then_some(FIRST_RATE);
    Ok(match args.rate.or(searched) {
        Some(rate) => Load::Open { rate, stages: Vec::new(), spacing },
        None if spacing == Spacing::Poisson => {
            return Err(Error::usage("--spacing poisson needs --rate or --stages", "a closed loop has no schedule"));
        }
        None => Load::Closed { in_flight: args.in_flight.unwrap_or(1) as usize },
    })
}

/// What is sent, and the same in words.
fn payload(args: &LoadArgs) -> Result<(Payload, String), Error> {
    let kind = if args.payload.binary { MessageKind::Binary } else { MessageKind::Text };
    let name = if args.payload.binary { "binary" } else { "text" };
    if args.payload.payload_json {
        let size = args.payload.payload_size.unwrap_or(SIZE);
        if size < LEAST_JSON {
            return Err(Error::usage(
                format!("--payload-json of {size} bytes"),
                format!("an object with a mark needs at least {LEAST_JSON} bytes"),
            ));
        }
        return Ok((Payload::Variants(random_json(size, OBJECTS, args.seed)), format!("{size} B random JSON")));
    }
    let template = args.connection.template;
    if let Some(path) = &args.payload.payload_file {
        return lines(path, kind, template);
    }
    let Some(text) = &args.payload.payload else {
        let size = args.payload.payload_size.unwrap_or(SIZE);
        return Ok((Payload::Variants(vec![Variant::of_size(kind, size)]), format!("{size} B {name}")));
    };
    let bytes = settings::file_or_text(text)?;
    if template {
        return Ok((template_of(&bytes, kind, args.seed)?, "a template".to_owned()));
    }
    let kind = match std::str::from_utf8(&bytes) {
        Ok(_) => kind,
        Err(_) if text.starts_with('@') => MessageKind::Binary,
        Err(_) => return Err(Error::usage("--payload is not UTF-8", "send it as binary messages with --binary")),
    };
    let variant = Variant::of_user(kind, &bytes);
    let size = variant.bytes.len();
    Ok((Payload::Variants(vec![variant]), format!("{size} B {name} of yours")))
}

fn template_of(bytes: &[u8], kind: MessageKind, seed: u64) -> Result<Payload, Error> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| Error::usage("a template must be UTF-8", "leave --template out"))?;
    let template = Template::compile(text)
        .map_err(|error| Error::Compile { flag: "--template", reason: error.to_string() })?
        .with_seed(seed);
    Ok(Payload::Template(std::sync::Arc::new(template), kind))
}

fn lines(path: &Path, kind: MessageKind, template: bool) -> Result<(Payload, String), Error> {
    let bytes = std::fs::read(path).map_err(|error| {
        Error::usage(
            format!("--payload-file: cannot read {}: {}", path.display(), io_text(&error)),
            "put one message on each line",
        )
    })?;
    if template {
        return Err(Error::usage(
            "lines of --payload-file are sent unchanged",
            "use --payload @F --template for a template",
        ));
    }
    let split: Vec<&[u8]> = bytes
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
        .collect();
    if split.is_empty() {
        return Err(Error::usage(
            format!("--payload-file: {} has no lines", path.display()),
            "put one message on each line",
        ));
    }
    if kind == MessageKind::Text && split.iter().any(|line| std::str::from_utf8(line).is_err()) {
        return Err(Error::usage(
            format!("--payload-file: {} is not UTF-8", path.display()),
            "send its lines as binary messages with --binary",
        ));
    }
    let variants: Vec<Variant> = split.iter().map(|line| Variant::of_user(kind, line)).collect();
    let text = format!("{} lines of {}", variants.len(), path.display());
    Ok((Payload::Variants(variants), text))
}

fn matching(args: &LoadArgs, kind: Kind, payload: &Payload) -> Result<Matching, Error> {
    let marked = payload.is_marked();
    if matches!(kind, Kind::Publish { .. }) && !marked {
        return Err(Error::usage(
            "--publish requires a mark in every message",
            format!("--payload-size of {} or more, or {} in the payload", marker::LEN, marker::PLACE),
        ));
    }
    match args.payload.r#match.as_deref() {
        None | Some("marker") if marked => Ok(Matching::Marker),
        None => Ok(Matching::Auto),
        Some("fifo") => Ok(Matching::Fifo),
        Some("content") => Ok(Matching::Content),
        Some("marker") => Err(Error::usage(
            "--match marker: the payload has no room for a mark",
            format!("--payload-size of {} or more, or {} in the payload", marker::LEN, marker::PLACE),
        )),
        Some(text) => {
            let source = text.strip_prefix("jq:").ok_or_else(|| {
                Error::usage(
                    format!("--match: unknown method '{text}'"),
                    "use marker, content, fifo or jq:FILTER, e.g. jq:.id",
                )
            })?;
            let is_same = matches!(payload, Payload::Variants(variants) if variants.len() == 1);
            if is_same {
                return Err(Error::usage(
                    "--match jq: every message would have the same id",
                    "use --template with {{seq}} in the payload, or --payload-file",
                ));
            }
            settings::filter("--match", source).map(Matching::Id)
        }
    }
}

fn init(text: &str, template: bool) -> Result<Compose, Error> {
    Ok(match settings::draft(text, template)? {
        Draft::Plain(message) => Compose::Fixed(message),
        Draft::Template(template, InputKind::Text | InputKind::Events) => {
            Compose::Template(template, MessageKind::Text)
        }
        Draft::Template(template, _) => Compose::Template(template, MessageKind::Binary),
    })
}

/// Reads one threshold.
///
/// # Errors
/// What is wrong with it, under the flag's name.
pub(super) fn threshold(flag: &str, text: &str) -> Result<Threshold, Error> {
    let numbers =
        Numbers { duration: &|text| duration(text).map(|duration| duration.as_secs_f64()), rate: &rate, share: &share };
    Threshold::parse(text, &numbers)
        .map_err(|error| Error::usage(format!("{flag}: {error}"), "for example 'p99<20ms', 'loss<0.01%' or 'rate>10k'"))
}

/// Reads `A,B` or `A/BITS`.
fn sources(text: &str) -> Result<Vec<IpAddr>, Error> {
    let wrong = |part: &str| {
        Error::usage(format!("--source-ip: invalid address '{part}'"), "write 10.0.0.1,10.0.0.2 or 10.0.0.0/24")
    };
    let mut addresses = Vec::new();
    for part in text.split(',').map(str::trim) {
        let Some((network, bits)) = part.split_once('/') else {
            addresses.push(part.parse().map_err(|_| wrong(part))?);
            continue;
        };
        let network: IpAddr = network.parse().map_err(|_| wrong(part))?;
        let bits: u32 = bits.parse().map_err(|_| wrong(part))?;
        addresses.extend(network_addresses(network, bits).ok_or_else(|| wrong(part))?);
    }
    addresses.truncate(MOST_SOURCES);
    Ok(addresses)
}

/// The addresses of a network that a host may have.
fn network_addresses(network: IpAddr, bits: u32) -> Option<Vec<IpAddr>> {
    let width = if network.is_ipv4() { 32 } else { 128 };
    let free = u32::checked_sub(width, bits)?;
    let number = match network {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    };
    let size = 1_u128.checked_shl(free).unwrap_or(u128::MAX);
    let base = number & !(size - 1);
    // The first and the last of an IPv4 network are not a host's.
    let (first, last) = if network.is_ipv4() && free >= 2 { (1, size - 2) } else { (0, size - 1) };
    let most = last.min(first + MOST_SOURCES as u128 - 1);
    let address = |offset: u128| match network {
        IpAddr::V4(_) => u32::try_from(base + offset).ok().map(|number| IpAddr::V4(number.into())),
        IpAddr::V6(_) => Some(IpAddr::V6((base + offset).into())),
    };
    (first..=most).map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_source_addresses() {
        let list = |text: &str| sources(text).map(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(list("127.0.0.2, 127.0.0.3").ok(), Some(vec!["127.0.0.2".to_owned(), "127.0.0.3".to_owned()]));
        assert_eq!(list("10.0.0.77/30").ok(), Some(vec!["10.0.0.77".to_owned(), "10.0.0.78".to_owned()]));
        assert_eq!(list("10.0.0.0/8").map(|found| found.len()).ok(), Some(MOST_SOURCES));
        assert_eq!(list("::1/127").ok(), Some(vec!["::".to_owned(), "::1".to_owned()]));
        for wrong in ["", "x", "10.0.0.1/33", "10.0.0.0/x"] {
            assert!(list(wrong).is_err(), "{wrong}");
        }
    }
}
