//! `llmos users`.

use gateway::admin_types::{Invitation, LostFactors, NamedUser, PurposesChange, User, UserRequest, Users};

use crate::{
    cli::{LostFactorsArgs, UserArgs, UserChanges, UserName, UsersCommand},
    client::Client,
    exit::Failure,
    output::{self, Output, date},
};

pub(crate) async fn run(client: &Client, command: UsersCommand, output: Output) -> Result<(), Failure> {
    let request = match command {
        UsersCommand::List => return list(client, output).await,
        UsersCommand::Set(args) => {
            let UserArgs { name, change } = args;
            let UserChanges { role, class_max, data_class_max, purposes, any_purpose, team, no_team } =
                change;
            let purposes = match (any_purpose, purposes.is_empty()) {
                (true, _) => Some(PurposesChange::Any),
                (false, true) => None,
                (false, false) => Some(PurposesChange::Only(purposes)),
            };
            let team = team.or_else(|| no_team.then(String::new));
            UserRequest { role, class_max, data_class_max, purposes, team, ..of(name) }
        }
        UsersCommand::Invite(name) => return invite(client, name, output).await,
        UsersCommand::ForgetFactors(args) => {
            let LostFactorsArgs { name: UserName { tenant, user }, reason } = args;
            return client
                .post("/api/v1/users/forgotten-factors", &LostFactors { tenant, user, reason })
                .await;
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

const HEADERS: [&str; 10] = [
    "TENANT",
    "USER",
    "NUMBER",
    "TEAM",
    "ROLE",
    "CLASS MAX",
    "DATA CLASS MAX",
    "PURPOSES",
    "LET IN",
    "SUSPENDED",
];

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
    let User {
        number,
        tenant,
        user,
        team,
        role,
        class_max,
        data_class_max,
        purposes,
        service,
        suspended_at,
        shut_out,
    } = user.clone();
    let user = if service { format!("{user} (service)") } else { user };
    let team = team.unwrap_or_else(|| "-".to_owned());
    let purposes = purposes.map_or("any".to_owned(), |purposes| purposes.join(" "));
    let let_in = if shut_out { "no" } else { "yes" }.to_owned();
    let suspended = suspended_at.map_or("-".to_owned(), date);
    let number = number.to_string();
    vec![tenant, user, number, team, role, class_max, data_class_max, purposes, let_in, suspended]
}
