//! Trusted certificates in the forms people have them: PEM, DER, and PKCS#12 as OpenSSL and Java's keytool write it, for
//! clients (`--cacert`) and servers (`--client-ca`); and what is said when one does not open.

use crate::support::certs::Authority;
use crate::support::process::Run;
use crate::support::{Server, require, scratch, text, wsp};

const PASSPHRASE: &str = "chang€it";

fn openssl(arguments: &[&str]) {
    Run::new("openssl").args(arguments).env("PASS", PASSPHRASE).input("").exits(0);
}

#[test]
fn clients_and_servers_trust_what_is_in_any_form() {
    if !require("openssl") || !require("keytool") {
        return;
    }
    let authority = Authority::new();
    let (own, client) = (authority.server(&["localhost"]), authority.client());
    let (ca, folder) = (authority.ca(), scratch());
    let file = |name: &str| text(&folder.path().join(name));
    let (der, plain, encrypted, java) = (file("ca.der"), file("plain.p12"), file("trust.p12"), file("java.p12"));
    openssl(&["x509", "-in", &ca, "-outform", "DER", "-out", &der]);
    openssl(&["pkcs12", "-export", "-nokeys", "-in", &ca, "-out", &plain, "-passout", "pass:"]);
    openssl(&["pkcs12", "-export", "-nokeys", "-in", &ca, "-out", &encrypted, "-passout", "env:PASS"]);
    Run::new("keytool")
        .args(["-importcert", "-noprompt", "-alias", "ca", "-file", &ca, "-keystore", &java])
        .args(["-storetype", "PKCS12", "-storepass", "changeit"])
        .input("")
        .exits(0);
    let forms = [(&ca, ""), (&der, ""), (&plain, ""), (&encrypted, PASSPHRASE), (&java, "changeit")];
    for (trust, passphrase) in forms {
        let flags = |name: &str| match passphrase {
            "" => vec![format!("--{name}"), trust.clone()],
            _ => [&format!("--{name}"), trust, &format!("--{name}-passphrase-env"), "TRUST"].map(str::to_owned).into(),
        };
        let identity = ["--tls-cert", &own.cert, "--tls-key", &own.key];
        for first in [["listen", "127.0.0.1:0", "--echo"], ["relay", "wss-listen://127.0.0.1:0", "null:"]] {
            let run = wsp(first).args(identity).args(flags("client-ca")).env("TRUST", passphrase);
            let server = Server::ready(run);
            let url = format!("wss://localhost:{}/", server.port);
            let connect =
                || wsp(["connect", "-4", &url, "-x", "a", "-w", "0"]).args(flags("cacert")).env("TRUST", passphrase);
            connect().args(["--cert", &client.cert, "--key", &client.key]).input("").exits(0);
            let output = connect().input("");
            assert!(output.code != 0, "{trust}: who shows nothing is not let in: {}", output.stderr);
            server.stop().exits(0);
        }
    }
    // One passphrase for both files, where only one is given.
    let store = file("client.p12");
    let (cert, key) = (&client.cert, &client.key);
    openssl(&["pkcs12", "-export", "-in", cert, "-inkey", key, "-out", &store, "-passout", "env:PASS"]);
    let run =
        wsp(["listen", "127.0.0.1:0", "--echo", "--tls-cert", &own.cert, "--tls-key", &own.key, "--client-ca", &ca]);
    let server = Server::ready(run);
    let url = format!("wss://localhost:{}/", server.port);
    wsp(["connect", "-4", &url, "-x", "a", "-n", "1", "--cacert", &encrypted, "--pkcs12", &store])
        .args(["--passphrase-env", "PASS"])
        .env("PASS", PASSPHRASE)
        .input("")
        .exits(0)
        .prints("a\n");
    for (passphrase, reason) in [(None, "no passphrase was given"), (Some("hunter2"), "wrong passphrase")] {
        let mut run = wsp(["connect", "-4", &url, "--cacert", &encrypted]);
        if let Some(passphrase) = passphrase {
            run = run.args(["--cacert-passphrase-env", "TRUST"]).env("TRUST", passphrase);
        }
        let output = run.input("").exits(8).complains(reason).complains("--cacert-passphrase-env");
        assert!(!output.stderr.contains("hunter2"), "{}", output.stderr);
    }
}

#[test]
fn javas_own_format_names_the_one_line_that_converts_it() {
    if !require("keytool") {
        return;
    }
    let authority = Authority::new();
    let own = authority.server(&["localhost"]);
    let folder = scratch();
    let file = |name: &str| text(&folder.path().join(name));
    let (jks, pem) = (file("trust.jks"), file("new.pem"));
    let password = ["-storepass", "changeit"];
    Run::new("keytool")
        .args(["-importcert", "-noprompt", "-alias", "ca", "-file", &authority.ca(), "-keystore", &jks])
        .args(["-storetype", "JKS"])
        .args(password)
        .input("")
        .exits(0);
    let refused = |run: Run| {
        let output = run.input("").exits(8).complains("Java key store (JKS)");
        output.complains("hint: keytool -list -rfc -keystore OLD > NEW.pem");
    };
    refused(wsp(["connect", "wss://127.0.0.1:1/", "--cacert", &jks]));
    let identity = ["--tls-cert", &own.cert, "--tls-key", &own.key];
    refused(wsp(["listen", "127.0.0.1:0"]).args(identity).args(["--client-ca", &jks]));
    // What it says works.
    let listed = Run::new("keytool").args(["-list", "-rfc", "-keystore", &jks]).args(password).input("").exits(0);
    std::fs::write(&pem, &listed.bytes).expect("a file");
    let server = Server::ready(wsp(["listen", "127.0.0.1:0", "--echo"]).args(identity));
    let url = format!("wss://localhost:{}/", server.port);
    wsp(["connect", "-4", &url, "--cacert", &pem, "-x", "a", "-n", "1"]).input("").exits(0).prints("a\n");
}
