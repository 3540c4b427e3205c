// Fill the list of versions from versions.js, which lies beside the versions' folders; without it, one is listed.
document.addEventListener("DOMContentLoaded", () => {
  const menu = document.getElementById("version");
  if (!menu || typeof CRONS_VERSIONS === "undefined") return;
  menu.replaceChildren(
    ...CRONS_VERSIONS.map((version) => new Option(version, version, false, version === menu.dataset.current))
  );
  menu.addEventListener("change", () => {
    window.location.href = `${menu.dataset.root}../${menu.value}/docs/index.html`;
  });
});
