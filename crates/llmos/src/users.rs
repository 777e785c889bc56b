//! `llmos users`.

use gateway::admin_types::{Invitation, NamedUser, User, UserRequest, Users};

use crate::{
    cli::{UserArgs, UserName, UsersCommand},
    client::Client,
    exit::{Exit, Failure},
    output::{self, Output, date},
};

pub(crate) async fn run(client: &Client, command: UsersCommand, output: Output) -> Result<(), Failure> {
    let request = match command {
        UsersCommand::List => return list(client, output).await,
        UsersCommand::Set(args) => {
            let UserArgs { name, role, class_max, data_class_max } = args;
            if role.is_none() && class_max.is_none() && data_class_max.is_none() {
                return Err(Failure::new(Exit::Usage, "nothing is to be changed")
                    .advise("say --role, --class-max or --data-class-max"));
            }
            UserRequest { role, class_max, data_class_max, ..of(name) }
        }
        UsersCommand::Invite(name) => return invite(client, name, output).await,
        UsersCommand::ForgetFactors(name) => {
            return client.post("/api/v1/users/forgotten-factors", &named(name)).await;
        }
        UsersCommand::Suspend(name) => UserRequest { suspended: Some(true), ..of(name) },
        UsersCommand::Resume(name) => UserRequest { suspended: Some(false), ..of(name) },
    };
    let user: User = client.patch("/api/v1/users", &request).await?;
    if output.json {
        return output::document(&user);
    }
    output.table(&HEADERS, &[row(&user)])
}

const HEADERS: [&str; 7] = ["TENANT", "USER", "ROLE", "CLASS MAX", "DATA CLASS MAX", "LET IN", "SUSPENDED"];

async fn list(client: &Client, output: Output) -> Result<(), Failure> {
    let users: Users = client.get("/api/v1/users").await?;
    if output.json {
        return output::document(&users);
    }
    let rows: Vec<_> = users.users.iter().map(row).collect();
    output.table(&HEADERS, &rows)
}

async fn invite(client: &Client, name: UserName, output: Output) -> Result<(), Failure> {
    let invitation: Invitation = client.post("/api/v1/users/invitations", &named(name)).await?;
    if output.json {
        return output::document(&invitation);
    }
    let Invitation { url, token } = invitation;
    output.text(&format!(
        "{url} takes this one-time token within a day; it is shown this once:\n\n    {token}\n"
    ))
}

fn named(name: UserName) -> NamedUser {
    NamedUser { tenant: name.tenant, user: name.user }
}

fn of(name: UserName) -> UserRequest {
    UserRequest { tenant: name.tenant, user: name.user, ..UserRequest::default() }
}

fn row(user: &User) -> Vec<String> {
    let User { tenant, user, role, class_max, data_class_max, suspended_at, shut_out } = user.clone();
    let let_in = if shut_out { "no" } else { "yes" }.to_owned();
    vec![tenant, user, role, class_max, data_class_max, let_in, suspended_at.map_or("-".to_owned(), date)]
}
