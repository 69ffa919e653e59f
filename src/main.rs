//! argv in, exit code out.

use std::process::exit;

fn main() {
    let arguments = std::env::args_os().collect();
    exit(i32::from(wscat_plus::run(arguments).code()));
}
