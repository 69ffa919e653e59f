//! Which layer decides what (pure).
//!
//! Options are decided one by one: the highest layer that says something about an option is heard, the others are
//! not. What excludes something a higher layer wants gives way to it, and so does what makes sense only with
//! something that gave way. Headers and cookies are decided by name, so a profile's credentials stay when
//! the command line adds a header of another name.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use super::{Fault, OptionSpec, Override, Setting, spec};

/// Options whose values are decided by the name before the mark.
const BY_NAME: [(&str, char); 2] = [("header", ':'), ("cookie", '=')];

/// Options that are a header under another name.
const HEADERS: [(&str, &str); 7] = [
    ("user", "authorization"),
    ("user-env", "authorization"),
    ("bearer", "authorization"),
    ("bearer-env", "authorization"),
    ("origin", "origin"),
    ("host", "host"),
    ("subprotocol", "sec-websocket-protocol"),
];

/// What is to be added to what the command line has `given`, from the layers below it, highest first.
///
/// `needs` says which options an option makes no sense without.
///
/// # Errors
/// Options of one layer that exclude each other, and options without what they need.
pub(crate) fn decide(
    specs: &[OptionSpec],
    given: &[Setting],
    layers: Vec<Vec<Setting>>,
    needs: &BTreeMap<String, Vec<String>>,
) -> (Vec<Setting>, Vec<Fault>) {
    let mut faults = Vec::new();
    let mut above = given.to_vec();
    let mut gave_way = Vec::new();
    for layer in layers {
        let mut taken: Vec<Setting> = Vec::new();
        for setting in layer {
            if gives_way(specs, &setting, &above) {
                gave_way.push(setting.option);
            } else if let Some(other) = taken.iter().find(|other| is_wanted(other) && excludes(specs, &setting, other))
            {
                let message = format!("{}: cannot be combined with {}", setting.place(), other.option);
                faults.push(Fault::new(message, "remove one of them"));
            } else if let Some(rest) = undecided(setting, &above) {
                taken.push(rest);
            }
        }
        above.extend(taken);
    }
    let mut added = above.split_off(given.len());
    settle_needs(given, &mut added, gave_way, needs, &mut faults);
    (added, faults)
}

fn is_wanted(setting: &Setting) -> bool {
    setting.change != Override::Off
}

fn excludes(specs: &[OptionSpec], a: &Setting, b: &Setting) -> bool {
    is_wanted(a) && a.option != b.option && spec(specs, &a.option).is_some_and(|spec| spec.excludes.contains(&b.option))
}

/// Whether a higher layer wants what this excludes, or says the same another way.
fn gives_way(specs: &[OptionSpec], setting: &Setting, above: &[Setting]) -> bool {
    let Some(spec) = spec(specs, &setting.option) else { return false };
    above
        .iter()
        .filter(|higher| is_wanted(higher))
        .any(|higher| spec.excludes.contains(&higher.option) || spec.replaced_by.contains(&higher.option))
}

/// What of the setting the layers above have not decided.
fn undecided(setting: Setting, above: &[Setting]) -> Option<Setting> {
    let same: Vec<&Setting> = above.iter().filter(|higher| higher.option == setting.option).collect();
    let mark = BY_NAME.iter().find(|(name, _)| *name == setting.option).map(|(_, mark)| *mark);
    match (mark, setting.change) {
        (Some(mark), Override::Values(mut values)) => {
            let mut taken: Vec<String> = same
                .iter()
                .filter_map(|higher| if let Override::Values(values) = &higher.change { Some(values) } else { None })
                .flatten()
                .map(|value| name(value, mark))
                .collect();
            if setting.option == "header" {
                let headers = HEADERS.iter().filter(|(option, _)| above.iter().any(|higher| higher.option == *option));
                taken.extend(headers.map(|(_, header)| (*header).to_owned()));
            }
            values.retain(|value| !taken.contains(&name(value, mark)));
            (!values.is_empty()).then_some(Setting { change: Override::Values(values), ..setting })
        }
        (_, change) => same.is_empty().then_some(Setting { change, ..setting }),
    }
}

fn name(value: &OsStr, mark: char) -> String {
    let value: OsString = value.to_owned();
    let text = value.to_string_lossy();
    text.split([mark, ';']).next().unwrap_or_default().trim().to_lowercase()
}

/// Takes out what lost the thing it makes sense with, and reports what never had it.
fn settle_needs(
    given: &[Setting],
    added: &mut Vec<Setting>,
    mut gave_way: Vec<String>,
    needs: &BTreeMap<String, Vec<String>>,
    faults: &mut Vec<Fault>,
) {
    loop {
        let missing =
            added.iter().enumerate().filter(|(_, setting)| is_wanted(setting)).find_map(|(index, setting)| {
                let wanted =
                    |need: &String| given.iter().chain(&*added).any(|other| other.option == *need && is_wanted(other));
                let need = needs.get(&setting.option)?.iter().find(|need| !wanted(need))?;
                Some((index, need.clone()))
            });
        let Some((index, need)) = missing else { return };
        let setting = added.remove(index);
        if !gave_way.contains(&need) {
            let message = format!("{}: requires {need}", setting.place());
            faults.push(Fault::new(message, format!("set {need} too, or remove {}", setting.option)));
        }
        gave_way.push(setting.option);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Origin;
    use super::super::samples::specs;
    use super::*;

    /// `name`, `name=value`, or `!name` for one that is switched off.
    fn settings(words: &[&str], origin: &Origin) -> Vec<Setting> {
        let mut found: Vec<Setting> = Vec::new();
        for word in words {
            let (option, change) = match (word.strip_prefix('!'), word.split_once('=')) {
                (Some(option), _) => (option, Override::Off),
                (_, Some((option, value))) => (option, Override::Values(vec![value.into()])),
                _ => (*word, Override::On),
            };
            match (found.iter_mut().find(|setting| setting.option == option), change) {
                (Some(Setting { change: Override::Values(values), .. }), Override::Values(more)) => values.extend(more),
                (_, change) => found.push(Setting { option: option.to_owned(), change, origin: origin.clone() }),
            }
        }
        found
    }

    fn decided(given: &[&str], variables: &[&str], profile: &[&str]) -> (Vec<String>, Vec<String>) {
        let file = Origin::Profile { profile: "p".into(), file: "c".into(), line: 1 };
        let layers = vec![settings(variables, &Origin::Variable("WSP_X".into())), settings(profile, &file)];
        let needs = BTreeMap::from([("no-self".to_owned(), vec!["broadcast".to_owned()])]);
        let (added, faults) = decide(&specs(), &settings(given, &Origin::Flag), layers, &needs);
        let arguments = added.iter().flat_map(Setting::arguments).map(|a| a.to_string_lossy().into_owned()).collect();
        (arguments, faults.into_iter().map(|fault| fault.message).collect())
    }

    #[test]
    fn the_highest_layer_is_heard() {
        type Words = &'static [&'static str];
        let table: [(Words, Words, Words, Words); 18] = [
            (&[], &[], &["connect-timeout=1"], &["--connect-timeout=1"]),
            (&[], &["connect-timeout=2"], &["connect-timeout=1"], &["--connect-timeout=2"]),
            (&["connect-timeout=3"], &["connect-timeout=2"], &["connect-timeout=1"], &[]),
            // What is switched off hides what is below, and nothing above.
            (&[], &["!insecure"], &["insecure"], &[]),
            (&["insecure"], &["!insecure"], &[], &[]),
            // Exclusion.
            (&["no-compress"], &[], &["compress=x"], &[]),
            (&[], &["compress"], &["no-compress"], &["--compress"]),
            (&["user-env=V"], &[], &["user=a:b"], &[]),
            (&["bearer=t"], &[], &["user=a:b"], &[]),
            (&["user=a:b"], &["bearer=t"], &[], &[]),
            // What loses its partner goes too.
            (&["echo"], &[], &["broadcast", "no-self"], &[]),
            (&["broadcast"], &[], &["no-self"], &["--no-self"]),
            // Lists are replaced, headers are decided by name.
            (&["init=a"], &[], &["init=b", "init=c"], &[]),
            (&["header=A: 1"], &[], &["header=a: 2", "header=B: 3"], &["--header=B: 3"]),
            (&["header=A:"], &["header=B: 2"], &["header=a: 2", "header=b: 3"], &["--header=B: 2"]),
            (&["bearer=t"], &[], &["header=Authorization: x", "header=B: 1"], &["--header=B: 1"]),
            (&[], &[], &["header=Authorization: x", "bearer=t"], &["--header=Authorization: x", "--bearer=t"]),
            (&["header=A;"], &[], &["header=A: 2"], &[]),
        ];
        for (given, variables, profile, expected) in table {
            let (added, faults) = decided(given, variables, profile);
            assert_eq!(faults, [""; 0], "{given:?} {variables:?} {profile:?}");
            assert_eq!(added, expected, "{given:?} {variables:?} {profile:?}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_a_fault() {
        let (_, faults) = decided(&[], &[], &["broadcast", "echo"]);
        assert_eq!(faults, ["c:1: [profile.p] echo: cannot be combined with broadcast"]);
        let (_, faults) = decided(&[], &["no-self"], &[]);
        assert_eq!(faults, ["WSP_X: requires broadcast"]);
        // Given on the command line, neither of the profile's is heard.
        assert_eq!(decided(&["broadcast"], &[], &["echo"]), (vec![], vec![]));
    }
}
