//! permessage-deflate's negotiation: any header, any preference, both ends.
//!
//! Held: what a server accepts is legal, can be compressed for, and answers the client's demands;
//! a client with the offer that parses out of the same text accepts that answer and both agree.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wscat_plus::internals::{DeflateOffer, Role, accept, check_answer};

fuzz_target!(|input: (&str, &str, &str)| {
    let (wish, params, header) = input;
    let wish = DeflateOffer::parse_params(wish).unwrap_or_default();

    // A stranger's header, as a server and as a client sees it.
    if let Some(agreed) = accept(&wish, &[header, params]) {
        assert!((9..=15).contains(&agreed.server_max_window_bits));
        assert!((8..=15).contains(&agreed.client_max_window_bits));
    }
    if let Ok(Some(agreed)) = check_answer(Some(&wish), &[header]) {
        assert!((8..=15).contains(&agreed.server_max_window_bits));
        assert!((8..=15).contains(&agreed.client_max_window_bits));
        assert!(agreed.server_no_context_takeover || !wish.server_no_context_takeover);
    }
    assert!(!matches!(check_answer(None, &[header]), Ok(Some(_))), "nothing was offered");

    // Our own client against our own server.
    let Ok(offer) = DeflateOffer::parse_params(params) else { return };
    let offered = offer.to_header();
    let printed = offered.split_once(';').map_or("", |(_, params)| params);
    if !printed.is_empty() {
        assert_eq!(DeflateOffer::parse_params(printed).as_ref(), Ok(&offer));
    }
    if offer.check_role(Role::Client).is_err() {
        return;
    }
    if let Some(served) = accept(&wish, &[&offered]) {
        let answer = served.to_header();
        match check_answer(Some(&offer), &[&answer]) {
            Ok(Some(agreed)) => {
                assert_eq!(agreed.server_no_context_takeover, served.server_no_context_takeover);
                assert_eq!(agreed.server_max_window_bits, served.server_max_window_bits);
                // What the client holds itself to may be stricter than what was asked of it.
                assert!(agreed.client_max_window_bits <= served.client_max_window_bits);
                assert!(agreed.client_no_context_takeover || !served.client_no_context_takeover);
            }
            // Only a window the client cannot compress for may come between the two.
            other => assert!(served.client_max_window_bits < 9, "{offered} / {answer}: {other:?}"),
        }
    }
});
