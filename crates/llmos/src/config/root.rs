//! Where a root key is kept, as `vault.root` says it.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use super::RootPlace;

/// A file. Without a path: [`FILE_NAME`] in the data directory.
const FILE: &str = "file:";
const FILE_NAME: &str = "root.pem";
/// A variable of the environment.
const ENVIRONMENT: &str = "environment";
/// A security module, by a URI (RFC 7512).
const PKCS11: &str = "pkcs11:";

/// Reads one of the three forms. `path` makes a relative path absolute.
pub(super) fn parse(
    text: &str,
    data_dir: &Path,
    path: impl FnOnce(&str) -> Option<PathBuf>,
) -> Option<Result<RootPlace, String>> {
    Some(Ok(if let Some(file) = text.strip_prefix(FILE) {
        RootPlace::File(if file.is_empty() { data_dir.join(FILE_NAME) } else { path(file)? })
    } else if text == ENVIRONMENT {
        RootPlace::Environment
    } else if let Some(rest) = text.strip_prefix(PKCS11) {
        match pkcs11(rest) {
            Ok(place) => place,
            Err(error) => return Some(Err(error)),
        }
    } else {
        return Some(Err(format!(
            "write \"{FILE}PATH\", \"{ENVIRONMENT}\", or \"{PKCS11}token=TOKEN;object=KEY?module-path=LIBRARY\""
        )));
    }))
}

fn pkcs11(rest: &str) -> Result<RootPlace, String> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (mut token, mut object, mut module) = (None, None, None);
    let attributes = path.split(';').chain(query.split('&')).filter(|attribute| !attribute.is_empty());
    for attribute in attributes {
        let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
        let value = percent_decode_str(value).decode_utf8().map_err(|_| format!("`{name}` is not UTF-8"))?;
        let place = match name {
            "token" => &mut token,
            "object" => &mut object,
            "module-path" => &mut module,
            "pin-value" | "pin-source" => {
                return Err(
                    "the PIN is no part of it; put that into the environment variable LLMOS_ROOT_PIN"
                        .to_owned(),
                );
            }
            _ => return Err(format!("it has `{name}`; known: token, object, module-path")),
        };
        *place = Some(value.into_owned()).filter(|value| !value.is_empty());
    }
    let missing = |name: &str| format!("it has no `{name}`");
    let module = PathBuf::from(module.ok_or_else(|| missing("module-path"))?);
    if !module.is_absolute() {
        return Err("its `module-path` is not absolute".to_owned());
    }
    Ok(RootPlace::Pkcs11 {
        module,
        token: token.ok_or_else(|| missing("token"))?,
        object: object.ok_or_else(|| missing("object"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<RootPlace, String> {
        parse(text, Path::new("/data"), |path| Some(Path::new("/here").join(path))).unwrap()
    }

    #[test]
    fn the_three_forms_are_read() {
        assert_eq!(parsed("file:"), Ok(RootPlace::File("/data/root.pem".into())));
        assert_eq!(parsed("file:keys/root.pem"), Ok(RootPlace::File("/here/keys/root.pem".into())));
        assert_eq!(parsed("environment"), Ok(RootPlace::Environment));
        let module = RootPlace::Pkcs11 {
            module: "/usr/lib/softhsm/libsofthsm2.so".into(),
            token: "the token".to_owned(),
            object: "root".to_owned(),
        };
        let text = "pkcs11:token=the%20token;object=root?module-path=/usr/lib/softhsm/libsofthsm2.so";
        assert_eq!(parsed(text), Ok(module));
        for (text, says) in [
            ("root.pem", "write \"file:PATH\""),
            ("pkcs11:token=t;object=o", "no `module-path`"),
            ("pkcs11:token=t?module-path=/m.so", "no `object`"),
            ("pkcs11:object=o?module-path=/m.so", "no `token`"),
            ("pkcs11:token=t;object=o?module-path=m.so", "not absolute"),
            ("pkcs11:token=t;object=o?module-path=/m.so&pin-value=1234", "LLMOS_ROOT_PIN"),
            ("pkcs11:slot-id=1;object=o?module-path=/m.so", "`slot-id`"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(says) && !error.contains("1234"), "{text}: {error}");
        }
    }
}
