// Improves the forms of API keys where script runs; each of them works without.

// A field that belongs to one line of a list is shown while that line is chosen.
for (const field of document.querySelectorAll("[data-when]")) {
  const [name, value] = field.dataset.when.split("=");
  const list = document.getElementById(name);
  const show = () => { field.hidden = list.value !== value; };
  list.addEventListener("change", show);
  show();
}

// An address is put among the others at once, where one sees it, rather than when the form is sent.
for (const button of document.querySelectorAll("button[data-add]")) {
  const { add, to, instead } = button.dataset;
  const list = document.getElementById(to);
  const choice = document.getElementById(instead);
  const put = () => {
    const lines = list.value.split("\n").map((line) => line.trim()).filter(Boolean);
    if (!lines.includes(add)) list.value = [...lines, add].join("\n");
  };
  const box = choice.querySelector("input");
  if (box.checked) put();
  box.checked = false;
  choice.hidden = true;
  button.hidden = false;
  button.addEventListener("click", () => { put(); list.focus(); });
}
