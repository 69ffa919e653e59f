//! Tells which OpenSSL is built against: from version 3 on, old ciphers are in a provider of their own.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(openssl3)");
    let version = std::env::var("DEP_OPENSSL_VERSION_NUMBER").ok();
    let version = version.and_then(|digits| u64::from_str_radix(&digits, 16).ok());
    if version.is_some_and(|version| version >= 0x3000_0000) {
        println!("cargo::rustc-cfg=openssl3");
    }
}
