"use strict";
const pages = {
  "confirm-email": {
    title: "Confirm your e-mail address", button: "Confirm", path: "/v1/auth/email/confirm", fields: [],
    body: () => ({}), done: "Your e-mail address is confirmed.",
  },
  "reset-password": {
    title: "Choose a new password", button: "Set the password", path: "/v1/auth/password-reset/complete",
    fields: ["password"], body: (form) => ({ new_password: form.password.value }),
    done: "Your password is changed. You can sign in with it now.",
  },
  "accept-invitation": {
    title: "Accept the invitation", button: "Join", path: "/v1/auth/invitations/accept", fields: ["name", "password"],
    body: (form) => ({ name: form.name.value, password: form.password.value }),
    done: "Welcome. You can sign in now.",
  },
};
const page = pages[document.body.dataset.page];
const form = document.querySelector("form");
const say = (text) => { document.querySelector("#message").textContent = text; };
const token = location.hash.slice(1);
// The address bar and the history forget it.
history.replaceState(null, "", location.pathname);
document.title = document.querySelector("h1").textContent = page.title;
document.querySelector("button").textContent = page.button;
for (const label of document.querySelectorAll("label")) {
  const wanted = page.fields.includes(label.dataset.field);
  label.hidden = !wanted;
  label.querySelector("input").required = wanted;
}
if (token) { form.hidden = false; } else { say("This link is incomplete. Open the link in the message again."); }
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  say("");
  const fields = { name: form.elements.namedItem("name"), password: form.elements.namedItem("password") };
  try {
    const answer = await fetch(page.path, {
      method: "POST", headers: { "Content-Type": "application/json" }, credentials: "omit",
      body: JSON.stringify({ token, ...page.body(fields) }),
    });
    if (answer.ok) { form.hidden = true; say(page.done); } else { say((await answer.json()).detail); }
  } catch { say("That did not work. Try again in a moment."); }
});
