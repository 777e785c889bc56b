pub(crate) fn deny() -> anyhow::Result<()> { Ok(()) }
