//! What is looked at before the first connection: files, ports, source addresses, what the kernel keeps track of.
//!
//! Invariant: what cannot work is said before anything is opened, with both numbers and the remedy.

use std::net::IpAddr;

use super::machine;
use super::plan::Plan;
use super::verdict::whole;
use crate::error::Error;
use crate::message::counted::counted;

/// Files needed besides connections.
const FILES_ASIDE: u64 = 64;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Preflight {
    /// Local addresses to connect from; none: as the system chooses.
    pub sources: Vec<IpAddr>,
    /// Ports left towards the target once all connections are open.
    pub ports_left: Option<u64>,
    /// What may be in the way.
    pub warnings: Vec<String>,
}

/// Raises the file limit and looks whether the plan fits this machine. `targets`: the target's addresses.
///
/// # Errors
/// Too few files.
pub(crate) fn look(plan: &Plan, targets: &[IpAddr]) -> Result<Preflight, Error> {
    enough_files(plan.connections as u64, machine::raise_files())?;
    let mut found = sources(plan, targets, machine::port_range());
    if let Some((most, there)) = machine::tracked()
        && there + plan.connections as u64 > most
    {
        found.warnings.push(format!(
            "the packet filter can track {} connections and already tracks {}: raise net.netfilter.nf_conntrack_max",
            whole(most as f64),
            whole(there as f64)
        ));
    }
    if machine::backlog().is_some_and(|backlog| backlog < 128) && plan.connect_rate.is_none() {
        found
            .warnings
            .push("net.core.somaxconn is below 128: if the target runs on this machine, use --connect-rate".to_owned());
    }
    Ok(found)
}

fn enough_files(connections: u64, limit: u64) -> Result<(), Error> {
    let needed = connections + FILES_ASIDE;
    // 0: the system does not say.
    if limit == 0 || needed <= limit {
        return Ok(());
    }
    Err(Error::usage(
        format!("{} need {needed} open files; the limit is {limit}", counted(connections, "connection")),
        format!("run ulimit -n {needed} (the hard limit is ulimit -Hn), or use fewer connections (-c)"),
    ))
}

fn sources(plan: &Plan, targets: &[IpAddr], range: Option<(u16, u16)>) -> Preflight {
    let connections = plan.connections;
    let ports = range.map(|(first, last)| u64::from(last.saturating_sub(first)) + 1);
    let is_loopback =
        !targets.is_empty() && targets.iter().all(|target| matches!(target, IpAddr::V4(v4) if v4.is_loopback()));
    let chosen = !plan.sources.is_empty() || plan.connect.dial.interface.is_some();
    let uses_ports = plan.connect.dial.unix_socket.is_none() && !targets.is_empty();
    let sources = if chosen || !is_loopback || !uses_ports || connections <= machine::PORTS_PER_ADDRESS {
        plan.sources.clone()
    } else {
        machine::loopback_sources(connections)
    };
    let mut warnings = Vec::new();
    let available = ports.map(|ports| ports * sources.len().max(1) as u64).filter(|_| uses_ports);
    let left = available.map(|available| available.saturating_sub(connections as u64));
    if let (Some(available), true) = (available, left == Some(0)) {
        warnings.push(format!(
            "{} local ports for {} connections: --source-ip LIST connects from more addresses, and \
             net.ipv4.ip_local_port_range \
             may be widened",
            whole(available as f64),
            whole(connections as f64)
        ));
    }
    Preflight { sources, ports_left: left, warnings }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_files_are_named_with_the_remedy() {
        assert!(enough_files(100, 164).is_ok() && enough_files(100, 0).is_ok());
        let error = enough_files(100, 163).expect_err("one too few");
        assert!(error.to_string().contains("164") && error.to_string().contains("163"), "{error}");
        assert!(error.hint().expect("a hint").contains("ulimit -n 164"));
        assert_eq!(error.exit(), crate::exit::Exit::Usage);
    }
}
