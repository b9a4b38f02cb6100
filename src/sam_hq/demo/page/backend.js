// Who answers the page: here the server. The static page has another file instead of this one.

export { ServerBackend as Backend, SessionLost } from "./server_backend.js";
