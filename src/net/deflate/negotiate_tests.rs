//! Tables of header values, command-line parameters, offers and answers.
//!
//! Owns the tests of `negotiate.rs`, which it sits beside to keep that file readable. Leaves the
//! codecs to `codec_tests.rs`. The RFC's own examples are rows of the tables.

#![allow(clippy::type_complexity)] // Rows of a table.

use super::*;

/// Name and value of a parameter, and an extension with its parameters, as tables hold them.
type ParamRow = (&'static str, Option<&'static str>);
type ExtensionRow = (&'static str, &'static [ParamRow]);
/// Takeover forbidden to server and client, window bits of server and client.
type Facts = (bool, bool, u8, u8);
type Checked = Result<Option<Facts>, NegotiationError>;

fn params(text: &str) -> DeflateOffer {
    DeflateOffer::parse_params(text).unwrap()
}

#[test]
fn the_grammar() {
    let none: &[ParamRow] = &[];
    let rows: &[(&str, Option<&[ExtensionRow]>)] = &[
        ("", Some(&[])),
        (" ,\t, ", Some(&[])),
        ("a", Some(&[("a", none)])),
        ("a,b , ,c", Some(&[("a", none), ("b", none), ("c", none)])),
        ("a;x;y=1", Some(&[("a", &[("x", None), ("y", Some("1"))])])),
        (" a ; x = \"1\" , b", Some(&[("a", &[("x", Some("1"))]), ("b", none)])),
        (r#"a;x="\1\0""#, Some(&[("a", &[("x", Some("10"))])])),
        (r#"a;x="1,b""#, None),
        (r#"a;x="""#, None),
        (r#"a;x="1"#, None),
        (r#"a;x="1"2"#, None),
        (r#"a;x="1\"#, None),
        (r#""a""#, None),
        ("a;", None),
        ("a;;x", None),
        ("a;x=", None),
        ("a;=1", None),
        ("a b", None),
        ("a;x y", None),
        ("a=1", None),
        ("ä", None),
        ("a;x=\"ä\"", None),
        ("a\r\n,b", None),
    ];
    for (header, expected) in rows {
        let parsed = parse_header(header).ok().map(|extensions| {
            extensions.into_iter().map(|extension| (extension.name, extension.params)).collect::<Vec<_>>()
        });
        let expected = expected.map(|extensions| {
            let own = |(name, value): &ParamRow| (*name, value.map(Cow::from));
            extensions.iter().map(|(name, params)| (*name, params.iter().map(own).collect())).collect()
        });
        assert_eq!(parsed, expected, "{header:?}");
    }
}

#[test]
fn params_of_the_command_line() {
    assert_eq!(DeflateOffer::default().to_header(), "permessage-deflate; client_max_window_bits");
    let rows = [
        ("", Some("; client_max_window_bits")),
        (" ; ", Some("; client_max_window_bits")),
        ("client_max_window_bits", Some("; client_max_window_bits")),
        ("client_max_window_bits=12;", Some("; client_max_window_bits=12")),
        ("server_no_context_takeover", Some("; server_no_context_takeover")),
        (
            "client_max_window_bits; server_max_window_bits=\"8\" ;client_no_context_takeover;server_no_context_takeover",
            Some(
                "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=8; client_max_window_bits",
            ),
        ),
        ("server_max_window_bits", None),
        ("server_max_window_bits=7", None),
        ("server_max_window_bits=16", None),
        ("server_max_window_bits=08", None),
        ("server_max_window_bits=+9", None),
        ("server_max_window_bits=264", None),
        ("client_max_window_bits=x", None),
        ("client_max_window_bits;client_max_window_bits=9", None),
        ("server_no_context_takeover=true", None),
        ("server_no_context_takeover;server_no_context_takeover", None),
        ("Server_no_context_takeover", None),
        ("level=9", None),
        ("permessage-deflate", None),
        ("client_max_window_bits, other", None),
        ("a b", None),
    ];
    for (text, header) in rows {
        let offer = DeflateOffer::parse_params(text).ok().map(|offer| offer.to_header());
        assert_eq!(offer, header.map(|header| format!("{EXTENSION}{header}")), "{text:?}");
    }
    let error = DeflateOffer::parse_params("client_max_window_bits=\"16\"").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the permessage-deflate parameter client_max_window_bits cannot have the value \"16\"",
    );
}

#[test]
fn the_servers_answer_is_checked() {
    use NegotiationError as E;
    let full = |server_alone, client_alone, server_bits, client_bits| {
        Ok(Some((server_alone, client_alone, server_bits, client_bits)))
    };
    let rows: &[(&str, &[&str], Checked)] = &[
        ("", &[], Ok(None)),
        ("", &["", " , "], Ok(None)),
        ("", &["permessage-deflate"], full(false, false, 15, 15)),
        ("", &["", ", permessage-deflate ,"], full(false, false, 15, 15)),
        ("", &["permessage-deflate; client_max_window_bits=10"], full(false, false, 15, 10)),
        // A server may limit itself, and forbid us takeover, unasked.
        (
            "server_no_context_takeover",
            &["permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=8"],
            full(true, true, 8, 15),
        ),
        ("", &["permessage-deflate; server_max_window_bits=\"10\""], full(false, false, 10, 15)),
        ("server_max_window_bits=10", &["permessage-deflate; server_max_window_bits=10"], full(false, false, 10, 15)),
        ("server_max_window_bits=10", &["permessage-deflate; server_max_window_bits=9"], full(false, false, 9, 15)),
        ("", &["permessage-deflate; client_max_window_bits=8"], full(false, false, 15, 8)),
        (
            "client_max_window_bits=8;server_max_window_bits=8",
            &["permessage-deflate; server_max_window_bits=8; client_max_window_bits=8"],
            full(false, false, 8, 8),
        ),
        // What we said of ourselves holds.
        ("client_max_window_bits=11; client_no_context_takeover", &["permessage-deflate"], full(false, true, 15, 11)),
        ("client_max_window_bits=11", &["permessage-deflate; client_max_window_bits=9"], full(false, false, 15, 9)),
        // Refused.
        ("", &["x-webkit-deflate-frame"], Err(E::NotOffered("x-webkit-deflate-frame".into()))),
        ("", &["permessage-deflate, x"], Err(E::NotOffered("x".into()))),
        ("", &["Permessage-Deflate"], Err(E::NotOffered("Permessage-Deflate".into()))),
        ("", &["permessage-deflate, permessage-deflate"], Err(E::RepeatedExtension)),
        ("", &["permessage-deflate", "permessage-deflate"], Err(E::RepeatedExtension)),
        ("", &["permessage-deflate;"], Err(E::Malformed("permessage-deflate;".into()))),
        ("", &["permessage-deflate; level=1"], Err(E::UnknownParameter("level".into()))),
        (
            "",
            &["permessage-deflate; client_no_context_takeover; client_no_context_takeover"],
            Err(E::RepeatedParameter(CLIENT_NO_CONTEXT_TAKEOVER)),
        ),
        (
            "",
            &["permessage-deflate; client_max_window_bits"],
            Err(E::IllegalValue { name: CLIENT_MAX_WINDOW_BITS, value: None }),
        ),
        (
            "",
            &["permessage-deflate; server_no_context_takeover=1"],
            Err(E::IllegalValue { name: SERVER_NO_CONTEXT_TAKEOVER, value: Some("1".into()) }),
        ),
        (
            "",
            &["permessage-deflate; server_max_window_bits=16"],
            Err(E::IllegalValue { name: SERVER_MAX_WINDOW_BITS, value: Some("16".into()) }),
        ),
        (
            "client_no_context_takeover",
            &["permessage-deflate; client_max_window_bits=10"],
            Err(E::ParameterNotOffered(CLIENT_MAX_WINDOW_BITS)),
        ),
        (
            "client_max_window_bits=10",
            &["permessage-deflate; client_max_window_bits=11"],
            Err(E::NotKept(CLIENT_MAX_WINDOW_BITS)),
        ),
        (
            "server_max_window_bits=10",
            &["permessage-deflate; server_max_window_bits=11"],
            Err(E::NotKept(SERVER_MAX_WINDOW_BITS)),
        ),
        ("server_max_window_bits=10", &["permessage-deflate"], Err(E::NotKept(SERVER_MAX_WINDOW_BITS))),
        ("server_no_context_takeover", &["permessage-deflate"], Err(E::NotKept(SERVER_NO_CONTEXT_TAKEOVER))),
    ];
    for (offer, headers, expected) in rows {
        let agreed = check_answer(Some(&params(offer)), headers).map(|agreed| {
            agreed.map(|it| {
                let bits = (it.server_max_window_bits, it.client_max_window_bits);
                (it.server_no_context_takeover, it.client_no_context_takeover, bits.0, bits.1)
            })
        });
        assert_eq!(&agreed, expected, "{offer:?} {headers:?}");
    }
    assert_eq!(check_answer(None, &[""]), Ok(None));
    assert_eq!(check_answer(None, &["permessage-deflate"]), Err(E::NotOffered(EXTENSION.into())));
}

/// RFC 7692 sections 5 and 7.1 among them.
#[test]
fn the_server_takes_the_first_offer_it_can_keep_to() {
    let rows: &[(&str, &[&str], Option<&str>)] = &[
        ("", &[], None),
        ("", &["permessage-deflate"], Some("")),
        ("", &["x, permessage-bzip2; level=9", "permessage-deflate"], Some("")),
        ("", &["permessage-deflate; client_max_window_bits"], Some("")),
        (
            "",
            &["permessage-deflate; client_max_window_bits; server_max_window_bits=10"],
            Some("; server_max_window_bits=10"),
        ),
        (
            "",
            &[
                "permessage-deflate; client_max_window_bits; server_max_window_bits=10, permessage-deflate; client_max_window_bits",
            ],
            Some("; server_max_window_bits=10"),
        ),
        ("", &["permessage-deflate; server_max_window_bits=15"], Some("; server_max_window_bits=15")),
        ("", &["permessage-deflate; server_no_context_takeover"], Some("; server_no_context_takeover")),
        ("", &["permessage-deflate; client_no_context_takeover"], Some("; client_no_context_takeover")),
        ("", &[r#"permessage-deflate; server_max_window_bits="9""#], Some("; server_max_window_bits=9")),
        ("", &["permessage-deflate; server_max_window_bits=8"], Some("; server_max_window_bits=8")),
        (
            "",
            &["permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=9"],
            Some("; server_max_window_bits=8"),
        ),
        ("", &["permessage-deflate; client_max_window_bits=8"], Some("")),
        // Skipped: unknown, repeated and illegal parameters.
        (
            "",
            &["permessage-deflate; fast", "permessage-deflate; client_no_context_takeover"],
            Some("; client_no_context_takeover"),
        ),
        ("", &["permessage-deflate; server_max_window_bits=9; server_max_window_bits=9"], None),
        ("", &["permessage-deflate; server_max_window_bits"], None),
        ("", &["permessage-deflate; client_max_window_bits=7, permessage-deflate"], Some("")),
        ("", &["permessage-deflate; client_no_context_takeover=1"], None),
        ("", &["permessage-deflate; oops=\"", "permessage-deflate"], Some("")),
        // Preferences.
        ("server_max_window_bits=12", &["permessage-deflate"], Some("; server_max_window_bits=12")),
        (
            "server_max_window_bits=12",
            &["permessage-deflate; server_max_window_bits=10"],
            Some("; server_max_window_bits=10"),
        ),
        ("server_max_window_bits=8", &["permessage-deflate"], Some("; server_max_window_bits=8")),
        ("client_max_window_bits=12", &["permessage-deflate"], Some("")),
        (
            "client_max_window_bits=12",
            &["permessage-deflate; client_max_window_bits"],
            Some("; client_max_window_bits=12"),
        ),
        (
            "client_max_window_bits=12",
            &["permessage-deflate; client_max_window_bits=10"],
            Some("; client_max_window_bits=10"),
        ),
        ("client_max_window_bits", &["permessage-deflate; client_max_window_bits=10"], Some("")),
        (
            "server_no_context_takeover;client_no_context_takeover",
            &["permessage-deflate; client_max_window_bits"],
            Some("; server_no_context_takeover; client_no_context_takeover"),
        ),
    ];
    for (preferences, headers, expected) in rows {
        let agreed = accept(&params(preferences), headers);
        let answer = agreed.as_ref().map(Agreed::to_header);
        assert_eq!(answer, expected.map(|expected| format!("{EXTENSION}{expected}")), "{preferences:?} {headers:?}");
    }
}

#[test]
fn both_ends_of_ours_agree() {
    let texts = [
        "",
        "server_no_context_takeover",
        "client_no_context_takeover;client_max_window_bits=9",
        "server_max_window_bits=15;client_max_window_bits=15",
        "server_max_window_bits=9;client_max_window_bits",
        "server_max_window_bits=8;client_max_window_bits=8",
    ];
    for (offer, preferences) in texts.iter().flat_map(|offer| texts.map(|preferences| (offer, preferences))) {
        let offer = params(offer);
        let server = accept(&params(preferences), &[&offer.to_header()]).unwrap();
        let client = check_answer(Some(&offer), &[&server.to_header()]).unwrap().unwrap();
        assert_eq!(server.server_no_context_takeover, client.server_no_context_takeover);
        assert_eq!(server.client_no_context_takeover, client.client_no_context_takeover);
        assert_eq!(server.server_max_window_bits, client.server_max_window_bits);
        assert!(server.client_max_window_bits >= client.client_max_window_bits);
    }
}
