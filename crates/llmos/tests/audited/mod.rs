//! Callers of a server, and what its log has of them.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;
use tlog::{bundle, tile::Tile};

use crate::harness::{Answer, Server, Site};

pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) secret: String,
}

pub(crate) fn key(server: &Server<'_>, tenant: &str, user: &str, more: &[&str]) -> Key {
    let made = server
        .json(&[&["keys", "create", "--label", "k", "--tenant", tenant, "--user", user], more].concat());
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    Key { id: text("id"), secret: text("secret") }
}

pub(crate) fn chat(server: &Server<'_>, key: &str, headers: &[&str], prompt: &str) -> Answer {
    let body =
        json!({ "model": "mock", "max_tokens": 4, "messages": [{ "role": "user", "content": prompt }] });
    server.request("POST", "/v1/chat/completions", key, headers, Some(&body))
}

/// Every entry of a copy of a log.
pub(crate) fn entries(folder: &Path) -> Vec<Vec<u8>> {
    let note = fs::read_to_string(folder.join("checkpoint")).unwrap();
    let size = note.lines().nth(1).unwrap().parse().unwrap();
    let bundles = Tile::grown(0, size).filter(|tile| tile.to_string().starts_with("tile/entries/"));
    let read = |tile: Tile| {
        let bytes = fs::read(folder.join(tile.to_string())).unwrap();
        let entries = bundle::parse(&bytes, tile.width()).unwrap();
        entries.iter().map(|entry| entry.to_vec()).collect::<Vec<_>>()
    };
    bundles.flat_map(read).collect()
}

/// A copy of the whole log as it is now.
pub(crate) fn exported(site: &Site, server: &Server<'_>, name: &str) -> PathBuf {
    server.json(&["audit", "export", name]);
    site.folder().join(name)
}
