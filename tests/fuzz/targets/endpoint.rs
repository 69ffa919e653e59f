//! Addresses as typed: whatever the text, parsing ends with a value or an error, never a panic.
//!
//! Held: a target prints as a URL that parses to the same target but for the user info, which is
//! never printed; no line break of the input can reach the request line or the Host header; a
//! redirect leads to another target of the same kind.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wscat_plus::internals::{ListenAddr, WsTarget};

fuzz_target!(|input: (&str, &str)| {
    let (text, location) = input;
    if let Ok(target) = WsTarget::parse(text) {
        check(&target);
        if let Ok(next) = target.join(location) {
            check(&next);
        }
    }
    if let Ok(address) = ListenAddr::parse(text) {
        let printed = address.to_string();
        let again = ListenAddr::parse(&printed).expect("what is printed can be read");
        assert_eq!(again.to_string(), printed);
    }
});

fn check(target: &WsTarget) {
    let printed = target.to_string();
    let again = WsTarget::parse(&printed).expect("what is printed can be read");
    assert_eq!(again.user_info, None);
    assert_eq!(again, WsTarget { user_info: None, ..target.clone() });
    let sendable = |text: &str| text.bytes().all(|byte| byte > b' ' && byte != 0x7f);
    assert!(target.path_and_query.starts_with('/') && sendable(&target.path_and_query));
    assert!(!target.host.is_empty() && sendable(&target.host_header()));
}
