//! Commands on the configuration of this program: contexts and settings.

use std::io::Read;
use std::path::Path;

use base64::Engine;

use howdah_api::address::Address;
use howdah_api::config::{ConfigError, ConfigFile, ServerContext};

use super::absent;
use crate::args::admin::{
    ConfigDelete, ConfigGet, ConfigList, ConfigSet, ConfigUpdate, ConfigVerb, Connect, SetContext, UpdateContext,
};
use crate::context::Ctx;
use crate::error::{CliError, CliResult};
use crate::output::table;

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err calls")]
fn refused(error: ConfigError) -> CliError {
    CliError::refused(error.to_string())
}

/// `connect`: makes a context for an address and activates it.
pub(super) fn connect(ctx: &Ctx, arguments: &Connect) -> CliResult {
    let address: Address = arguments
        .address
        .parse()
        .map_err(|error: howdah_api::address::AddressError| CliError::refused(error.to_string()))?;
    let mut context = ServerContext::at(&address);
    if let Some(file) = &arguments.token_file {
        context.session_token = read_token(file)?;
    }
    if let Some(file) = &arguments.ca_file {
        let text = std::fs::read(file).map_err(CliError::io(format!("cannot read {}", file.display())))?;
        context.server_cas = base64::engine::general_purpose::STANDARD.encode(text);
    }
    let mut file = ctx.config()?;
    let name = arguments.alias.clone().unwrap_or_else(|| address.to_string());
    file.config.v2.contexts.insert(name.clone(), context);
    file.config.v2.active_context.clone_from(&name);
    file.save().map_err(refused)?;
    ctx.printer.line(format!("Context {name:?} points to {address}."))?;
    Ok(ctx.printer.line(format!("Context {name:?} is active now."))?)
}

/// Reads the first token of a file; the name of its owner and comments are passed over.
fn read_token(file: &Path) -> Result<String, CliError> {
    let text = std::fs::read_to_string(file).map_err(CliError::io(format!("cannot read {}", file.display())))?;
    let words = text.lines().filter_map(|line| line.split_whitespace().next());
    let token = words.into_iter().find(|word| !word.starts_with('#'));
    token
        .map(ToOwned::to_owned)
        .ok_or_else(|| CliError::refused(format!("{} has no token", file.display())))
}

/// `config ...`.
pub(super) fn config(ctx: &Ctx, verb: ConfigVerb) -> CliResult {
    match verb {
        ConfigVerb::Get(what) => get(ctx, &what),
        ConfigVerb::Set(ConfigSet::ActiveContext(arguments)) => set_active(ctx, &arguments.name),
        ConfigVerb::Set(ConfigSet::Context(arguments)) => set_context(ctx, &arguments),
        ConfigVerb::Set(ConfigSet::Metrics(arguments)) => change(ctx, |file| {
            file.config.v2.metrics = arguments.metrics;
            Ok(())
        }),
        ConfigVerb::Set(ConfigSet::ActiveEnterpriseContext(_)) => {
            absent::enterprise("config set active-enterprise-context")
        }
        ConfigVerb::Update(ConfigUpdate::Context(arguments)) => update_context(ctx, &arguments),
        ConfigVerb::List(ConfigList::Context(_)) => list(ctx),
        ConfigVerb::Delete(ConfigDelete::Context(arguments)) => delete(ctx, &arguments.name),
        ConfigVerb::ImportKube(_) => absent::kubernetes("config import-kube"),
    }
}

/// Changes the configuration and stores it.
fn change(ctx: &Ctx, edit: impl FnOnce(&mut ConfigFile) -> CliResult) -> CliResult {
    let mut file = ctx.config()?;
    edit(&mut file)?;
    file.save().map_err(refused)
}

fn context<'a>(file: &'a ConfigFile, name: &str) -> Result<&'a ServerContext, CliError> {
    let known: Vec<_> = file.config.v2.contexts.keys().map(String::as_str).collect();
    file.config.v2.contexts.get(name).ok_or_else(|| {
        CliError::refused(format!(
            "context {name:?} does not exist; there are: {}",
            known.join(", ")
        ))
    })
}

fn get(ctx: &Ctx, what: &ConfigGet) -> CliResult {
    let file = ctx.config()?;
    let none_if_empty = |name: &str| {
        if name.is_empty() {
            "NONE".to_owned()
        } else {
            name.to_owned()
        }
    };
    let text = match what {
        ConfigGet::ActiveContext(_) => {
            none_if_empty(ctx.env.context.as_deref().unwrap_or(&file.config.v2.active_context))
        }
        ConfigGet::ActiveEnterpriseContext(_) => none_if_empty(&file.config.v2.active_enterprise_context),
        ConfigGet::Metrics(_) => file.config.v2.metrics.to_string(),
        ConfigGet::Context(arguments) => serde_json::to_string_pretty(context(&file, &arguments.name)?)
            .map_err(|error| CliError::refused(format!("the context cannot be printed: {error}")))?,
    };
    Ok(ctx.printer.line(text)?)
}

fn set_active(ctx: &Ctx, name: &str) -> CliResult {
    change(ctx, |file| {
        context(file, name)?;
        name.clone_into(&mut file.config.v2.active_context);
        Ok(())
    })
}

fn set_context(ctx: &Ctx, arguments: &SetContext) -> CliResult {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(CliError::io("cannot read standard input"))?;
    let new: ServerContext = serde_json::from_str(&text)
        .map_err(|error| CliError::refused(format!("standard input is not a context in JSON: {error}")))?;
    if !new.pachd_address.is_empty() {
        parse_address(&new.pachd_address)?;
    }
    change(ctx, |file| {
        let contexts = &mut file.config.v2.contexts;
        if contexts.contains_key(&arguments.name) && !arguments.overwrite {
            return Err(CliError::hinted(
                format!("context {:?} already exists", arguments.name),
                "--overwrite replaces it",
            ));
        }
        contexts.insert(arguments.name.clone(), new);
        Ok(())
    })
}

fn parse_address(text: &str) -> Result<Address, CliError> {
    text.parse()
        .map_err(|error: howdah_api::address::AddressError| CliError::refused(error.to_string()))
}

fn update_context(ctx: &Ctx, arguments: &UpdateContext) -> CliResult {
    let address = arguments.pachd_address.as_deref().map(parse_address).transpose()?;
    change(ctx, |file| {
        let name = match &arguments.name {
            Some(name) => name.clone(),
            None => file.context_name(&ctx.env).to_owned(),
        };
        context(file, &name)?;
        let Some(context) = file.config.v2.contexts.get_mut(&name) else {
            return Ok(());
        };
        let set = |field: &mut String, value: &Option<String>| {
            if let Some(value) = value {
                field.clone_from(value);
            }
        };
        if let Some(address) = address {
            context.pachd_address = address.to_string();
        }
        set(&mut context.project, &arguments.project);
        set(&mut context.server_cas, &arguments.server_cas);
        set(&mut context.namespace, &arguments.namespace);
        set(&mut context.cluster_name, &arguments.cluster_name);
        set(&mut context.auth_info, &arguments.auth_info);
        if arguments.remove_cluster_deployment_id {
            context.cluster_deployment_id.clear();
        }
        Ok(())
    })
}

fn list(ctx: &Ctx) -> CliResult {
    let file = ctx.config()?;
    let active = file.context_name(&ctx.env);
    let enterprise = &file.config.v2.active_enterprise_context;
    let rows = file
        .config
        .v2
        .contexts
        .keys()
        .map(|name| {
            let mark = format!(
                "{}{}",
                if name == enterprise { "E" } else { "" },
                if name == active { "*" } else { "" }
            );
            vec![mark, name.clone()]
        })
        .collect();
    Ok(ctx.printer.text(table::render(&["ACTIVE", "NAME"], rows))?)
}

fn delete(ctx: &Ctx, name: &str) -> CliResult {
    change(ctx, |file| {
        context(file, name)?;
        if file.config.v2.active_context == name {
            return Err(CliError::hinted(
                format!("context {name:?} is active, so it cannot be deleted"),
                "`config set active-context` makes another one active",
            ));
        }
        file.config.v2.contexts.remove(name);
        Ok(())
    })
}
