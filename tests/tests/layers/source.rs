//! What one source file defines, re-exports and imports.

#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// A path in the code, resolved to absolute segments below the crate's root.
pub(crate) type Segments = Vec<String>;

/// What one file holds.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// Absolute paths that the file's code or imports name.
    pub uses: BTreeSet<Segments>,
    /// Names that the file re-exports, with the path each comes from.
    pub exports: BTreeMap<String, Segments>,
    /// Modules all of whose names the file re-exports.
    pub globs: Vec<Segments>,
    /// Names that the file defines.
    pub names: BTreeSet<String>,
}

impl Source {
    /// Reads the file of the module `module`, given as segments below the crate's root.
    pub(crate) fn read(path: &Path, module: &[String]) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut reader = SourceReader {
            module: module.to_vec(),
            children: BTreeSet::new(),
            source: Source::default(),
        };
        for item in &file.items {
            if let syn::Item::Mod(child) = item {
                reader.children.insert(child.ident.to_string());
            }
        }
        reader.visit_file(&file);
        reader.source
    }
}

struct SourceReader {
    /// The module that is being read; inline modules are appended.
    module: Segments,
    /// Modules declared in the file.
    children: BTreeSet<String>,
    source: Source,
}

impl SourceReader {
    /// Makes a path absolute; `None` for paths into other crates and for names of the prelude.
    fn absolute(&self, path: &[String]) -> Option<Segments> {
        let first = path.first()?;
        let mut base = match first.as_str() {
            "crate" => Vec::new(),
            "self" => self.module.clone(),
            "super" => self.module[..self.module.len().checked_sub(1)?].to_vec(),
            child if self.children.contains(child) => {
                let mut base = self.module.clone();
                base.push(child.to_owned());
                base
            }
            _ => return None,
        };
        for segment in &path[1..] {
            match segment.as_str() {
                "super" => drop(base.pop()),
                "self" => {}
                other => base.push(other.to_owned()),
            }
        }
        Some(base)
    }

    fn use_tree(&mut self, tree: &syn::UseTree, prefix: &mut Vec<String>, public: bool) {
        match tree {
            syn::UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.use_tree(&path.tree, prefix, public);
                prefix.pop();
            }
            syn::UseTree::Name(name) => self.used(prefix, &name.ident.to_string(), &name.ident.to_string(), public),
            syn::UseTree::Rename(name) => self.used(prefix, &name.ident.to_string(), &name.rename.to_string(), public),
            syn::UseTree::Glob(_) => {
                if let Some(path) = self.absolute(prefix) {
                    if public {
                        self.source.globs.push(path.clone());
                    }
                    if !(public && path.starts_with(&self.module)) {
                        self.source.uses.insert(path);
                    }
                }
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.use_tree(tree, prefix, public);
                }
            }
        }
    }

    fn used(&mut self, prefix: &[String], name: &str, alias: &str, public: bool) {
        let path: Vec<String> = prefix.iter().cloned().chain([name.to_owned()]).collect();
        let Some(path) = self.absolute(&path) else { return };
        let own = path.starts_with(&self.module) && path.len() > self.module.len();
        // Also a private `use` of a child's item makes it known by that name to files below.
        self.source.exports.insert(alias.to_owned(), path.clone());
        if !(public && own) {
            self.source.uses.insert(path);
        }
    }

    /// Looks for paths in the unparsed input of a macro.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(name) if path.is_empty() || colons == 2 => {
                    path.push(name.to_string());
                    colons = 0;
                    continue;
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' && !path.is_empty() => {
                    colons += 1;
                    continue;
                }
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(name) => {
                    self.path(&path);
                    path = vec![name.to_string()];
                    colons = 0;
                    continue;
                }
                _ => {}
            }
            self.path(&path);
            path.clear();
            colons = 0;
        }
        self.path(&path);
    }

    fn path(&mut self, path: &[String]) {
        if path.len() > 1
            && let Some(path) = self.absolute(path)
        {
            self.source.uses.insert(path);
        }
    }
}

/// Whether an item exists in tests only.
fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let is_cfg = attribute.path().is_ident("cfg");
        attribute.path().is_ident("test")
            || is_cfg
                && attribute.meta.require_list().is_ok_and(|list| {
                    let text = list.tokens.to_string();
                    text == "test" || text.starts_with("any (test")
                })
    })
}

impl<'ast> Visit<'ast> for SourceReader {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let (attributes, name) = match item {
            syn::Item::Const(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Enum(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
            syn::Item::Impl(item) => (&item.attrs, None),
            syn::Item::Macro(item) => (&item.attrs, item.ident.as_ref()),
            syn::Item::Mod(item) => (&item.attrs, None),
            syn::Item::Static(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Struct(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Trait(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Type(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Use(item) => (&item.attrs, None),
            _ => return visit::visit_item(self, item),
        };
        if is_test(attributes) {
            return;
        }
        if let Some(name) = name {
            self.source.names.insert(name.to_string());
        }
        match item {
            syn::Item::Use(item) => {
                let public = !matches!(item.vis, syn::Visibility::Inherited);
                self.use_tree(&item.tree, &mut Vec::new(), public);
            }
            syn::Item::Mod(module) if module.content.is_some() => {
                self.module.push(module.ident.to_string());
                visit::visit_item(self, item);
                self.module.pop();
            }
            _ => visit::visit_item(self, item),
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.path(&segments);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}
}
