pub(crate) fn check() -> anyhow::Result<()> { Ok(()) } pub(crate) fn write() -> anyhow::Result<()> { Ok(()) }
