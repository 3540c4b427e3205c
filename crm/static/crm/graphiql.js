// The page to try GraphQL, in DEBUG only. A file of its own: the content security policy runs no script in a page.
const form = document.getElementById("form");
const token = form.dataset.token;
const answer = document.getElementById("answer");

async function ask(query, variables) {
  const response = await fetch(location.pathname, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRFToken": token },
    body: JSON.stringify({ query, variables }),
  });
  const text = await response.text();
  try { return JSON.parse(text); } catch { throw new Error(`${response.status} ${response.statusText}: ${text.slice(0, 300)}`); }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  answer.textContent = "…";
  try {
    const variables = JSON.parse(form.variables.value || "{}");
    answer.textContent = JSON.stringify(await ask(form.query.value, variables), null, 2);
  } catch (error) {
    answer.textContent = String(error);
  }
});
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});

async function list() {
  const of = (root) => `${root} { fields { name description args { name } } }`;
  const found = await ask(`{ __schema { ${of("queryType")} ${of("mutationType")} } }`, {});
  const fields = document.getElementById("fields");
  for (const [word, root] of [["", found.data.__schema.queryType], ["mutation ", found.data.__schema.mutationType]]) {
    for (const field of root ? root.fields : []) {
      const names = field.args.map((each) => each.name).join(", ");
      const term = document.createElement("dt");
      term.textContent = word + field.name + (names && `(${names})`);
      const meaning = document.createElement("dd");
      meaning.textContent = field.description || "";
      fields.append(term, meaning);
    }
  }
}
form.requestSubmit();
list();
