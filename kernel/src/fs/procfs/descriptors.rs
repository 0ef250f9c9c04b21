//! /proc/self/fd and /proc/self/fdinfo.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::errno::{Errno, Result};
use crate::fs::file::{OpenFile, open};
use crate::fs::inode::Target;
use crate::fs::synthetic::{Entry, Handle, Listing, Subject};
use crate::sched;

/// Entries of `fd`.
pub struct Links;
/// Entries of `fdinfo`.
pub struct Infos;

static LINK: Entry = Entry::Link(target);
static INFO: Entry = Entry::Text(info);

fn file(fd: i32) -> Result<Arc<OpenFile>> {
    sched::current()
        .process()
        .descriptors
        .get(fd)
        .map_err(|_| Errno::ENOENT)
}

fn names() -> Vec<String> {
    sched::current()
        .process()
        .descriptors
        .descriptors()
        .into_iter()
        .map(|fd| format!("{fd}"))
        .collect()
}

fn entry(entry: &'static Entry, subject: Subject, name: &str) -> Result<(&'static Entry, Subject)> {
    let fd = super::number(name)?;
    file(fd)?;
    Ok((entry, Subject { fd, ..subject }))
}

impl Listing for Links {
    fn names(&self, _: Subject) -> Vec<String> {
        names()
    }
    fn entry(&self, subject: Subject, name: &str) -> Result<(&'static Entry, Subject)> {
        entry(&LINK, subject, name)
    }
}

impl Listing for Infos {
    fn names(&self, _: Subject) -> Vec<String> {
        names()
    }
    fn entry(&self, subject: Subject, name: &str) -> Result<(&'static Entry, Subject)> {
        entry(&INFO, subject, name)
    }
}

fn target(subject: Subject) -> Result<Target> {
    let open = file(subject.fd)?;
    let inode = open.file.inode();
    Ok(Target::Object(
        inode.unwrap_or_else(|| Arc::new(Handle(open))),
    ))
}

fn info(subject: Subject) -> Result<Vec<u8>> {
    let open = file(subject.fd)?;
    let close_on_exec = sched::current()
        .process()
        .descriptors
        .close_on_exec(subject.fd)?;
    let flags = open.flags() | if close_on_exec { open::CLOEXEC } else { 0 };
    let (position, stat) = (*open.position.lock(), open.file.stat().unwrap_or_default());
    Ok(format!(
        "pos:\t{position}\nflags:\t0{flags:o}\nmnt_id:\t{}\nino:\t{}\n",
        stat.device, stat.inode
    )
    .into_bytes())
}
