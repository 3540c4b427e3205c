// What the refreshing of pages needs beside htmx. Without scripts a page is read and operated all the same.
"use strict";
(() => {
  const opened = new Set();
  let follows = true;
  const output = () => document.getElementById("output");
  const toEnd = () => {
    if (output()) output().scrollTop = output().scrollHeight;
  };
  const notice = () => document.getElementById("stale");
  const isPoll = (event) => event.detail.requestConfig.verb === "get";

  // Nothing is swapped under the hands of who fills in a form or copies a text, nor asked for in a hidden tab.
  const isBusy = (part) => {
    const chosen = document.getSelection();
    const copies = chosen && !chosen.isCollapsed && part.contains(chosen.anchorNode);
    return copies || part.querySelector("details.act[open], :is(input, textarea, select):focus") !== null;
  };
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (isPoll(event) && (document.hidden || isBusy(event.detail.elt))) event.preventDefault();
  });

  // An answer that is no such page (a login, an error of a proxy) must not take the place of what is shown.
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.xhr.status === 204) return tellFresh();
    const part = event.detail.requestConfig.elt.id;
    if (!part || !event.detail.serverResponse.includes(`id="${part}"`)) event.detail.shouldSwap = false;
    if (!event.detail.shouldSwap) return tellStale();
    opened.clear();
    const box = output();
    follows = box !== null && box.scrollTop + box.clientHeight > box.scrollHeight - 40;
    document.querySelectorAll("details[open][id]").forEach((each) => opened.add(each.id));
  });
  document.addEventListener("htmx:afterSwap", () => {
    opened.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
    tellFresh();
    if (follows) toEnd();
  });

  // Whoever leaves the page on a wall must see that it stands still.
  const tell = (isStale) => {
    if (notice()) notice().hidden = !isStale;
  };
  const tellStale = () => tell(true);
  const tellFresh = () => tell(false);
  ["htmx:sendError", "htmx:responseError", "htmx:timeout"].forEach((name) => document.addEventListener(name, tellStale));
  toEnd();
})();
