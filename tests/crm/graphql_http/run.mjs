// Prints, as JSON, what graphql-http's audits say of the server at argv[2], asked with the token argv[3].
// server.mjs and utils.mjs are those of the npm package graphql-http 1.22.4, as they came (lib/audits/ and lib/).
import { auditServer } from './audits/server.mjs';

const [url, token] = process.argv.slice(2);
const results = await auditServer({
    url,
    fetchFn: (address, options = {}) =>
        fetch(address, { ...options, headers: { ...options.headers, authorization: `Bearer ${token}` } }),
});
const said = [];
for (const { id, name, status, reason, response } of results) {
    said.push({ id, name, status, reason, answered: response?.status });
}
process.stdout.write(JSON.stringify(said));
