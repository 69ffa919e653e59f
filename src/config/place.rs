//! Where the configuration file is (pure): the XDG base directory specification's rule.

use std::path::{Path, PathBuf};

use super::variables::Environment;

/// Below the directory of configuration files.
const FILE: &str = "wscat-plus/config.toml";

/// The file's place, whether or not it exists; `None` where neither variable says.
///
/// `XDG_CONFIG_HOME` counts only where it is absolute, as the specification demands.
pub(crate) fn config_file(environment: &Environment) -> Option<PathBuf> {
    let absolute = |name: &str| environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let directory = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
    directory.map(|directory| directory.join(Path::new(FILE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_is_that_of_xdg() {
        type Variables = &'static [(&'static str, &'static str)];
        let table: [(Variables, Option<&str>); 5] = [
            (&[("XDG_CONFIG_HOME", "/x"), ("HOME", "/h")], Some("/x/wscat-plus/config.toml")),
            (&[("HOME", "/h")], Some("/h/.config/wscat-plus/config.toml")),
            (&[("XDG_CONFIG_HOME", "relative"), ("HOME", "/h")], Some("/h/.config/wscat-plus/config.toml")),
            (&[("XDG_CONFIG_HOME", ""), ("HOME", "/h")], Some("/h/.config/wscat-plus/config.toml")),
            (&[], None),
        ];
        for (variables, expected) in table {
            let environment = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            assert_eq!(config_file(&environment), expected.map(PathBuf::from), "{variables:?}");
        }
    }
}
