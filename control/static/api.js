// Asking the daemon. The cookie a log-in leaves is out of any script's reach; commands also need what it answered.

const PATIENCE_MS = 8_000;         // a little longer than the daemon gives itself
const COMMAND_PATIENCE_MS = 65_000;

let csrf = "";

/** The daemon refused, or nobody answered (status 0). Its message is a sentence for a person. */
export class Refused extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** Nobody is logged in here (any more). */
export class LoggedOut extends Refused {}

export const ask = (path) => send("GET", path, undefined, PATIENCE_MS);

export const tell = (path, body = {}) => send("POST", path, body, COMMAND_PATIENCE_MS);

export async function logIn(token) {
  csrf = (await send("POST", "api/login", { token }, PATIENCE_MS)).csrf;
}

/** Take up the session of an earlier visit; throws LoggedOut when there is none. */
export async function takeUp() {
  const session = await ask("api/session");
  if (!session.logged_in) throw new LoggedOut("not logged in", 401);
  csrf = session.csrf;
}

export async function logOut() {
  await tell("api/logout");
  csrf = "";
}

async function send(method, path, body, patienceMs) {
  const headers = { Accept: "application/json" };
  if (method === "POST") {
    headers["Content-Type"] = "application/json";
    if (csrf) headers["X-RAD-CSRF"] = csrf;
  }
  let response;
  let said;
  try {
    response = await fetch(path, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin", cache: "no-store", redirect: "error", signal: AbortSignal.timeout(patienceMs),
    });
    said = await response.json();
  } catch (error) {
    if (response && !response.ok) throw new Refused(`the daemon answered ${response.status}`, response.status);
    if (error.name === "TimeoutError") throw new Refused(`no answer within ${patienceMs / 1000} s`);
    throw new Refused("nobody answers at this address");
  }
  if (response.ok) return said;
  const message = typeof said?.error === "string" ? said.error : `the daemon answered ${response.status}`;
  throw response.status === 401 ? new LoggedOut(message, 401) : new Refused(message, response.status);
}
