// GraphiQL on this site: with the CSRF token, and subscriptions by server-sent events.
"use strict";

(() => {
  const place = document.getElementById("graphiql");

  // The events of a response, as GraphiQL takes them: each `next` is an answer, `complete` the end.
  async function* answers(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        text += value;
        const events = text.split("\n\n");
        text = events.pop();
        for (const event of events) {
          if (event.startsWith("event: complete")) return;
          const data = event.split("\ndata: ")[1];
          if (data) yield JSON.parse(data);
        }
      }
    } finally {
      await reader.cancel();
    }
  }

  function isSubscription({ documentAST } = {}, { operationName }) {
    const operations = (documentAST?.definitions || []).filter((each) => each.kind === "OperationDefinition");
    const asked = operations.find((each) => !operationName || each.name?.value === operationName);
    return asked?.operation === "subscription";
  }

  async function fetcher(asked, options) {
    const response = await fetch(window.location.pathname, {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        Accept: isSubscription(options, asked)
          ? "text/event-stream"
          : "application/graphql-response+json, application/json;q=0.9",
        "X-CSRFToken": place.dataset.token,
        ...options?.headers,
      },
      body: JSON.stringify(asked),
    });
    if (response.headers.get("Content-Type").startsWith("text/event-stream")) return answers(response);
    if (!response.headers.get("Content-Type").includes("json")) return { errors: [{ message: await response.text() }] };
    return response.json();
  }

  const query = "# What you may see as who you are logged in as; with a service token, write into the headers:\n"
    + '# {"Authorization": "Bearer crm_…"}\n{\n  hello\n}\n';
  const app = React.createElement(GraphiQL, { fetcher, defaultQuery: query, shouldPersistHeaders: false });
  ReactDOM.createRoot(place).render(app);
})();
