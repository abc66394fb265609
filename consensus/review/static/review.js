// The keyboard, where the focus goes, and presses that got no answer. Without this file all forms and links still work.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const screen = () => byId("screen");
  const typing = (element) => element.closest?.("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]");
  const openDialog = () => document.querySelector("dialog[open]");

  // Said to people ---------------------------------------------------------------------------------------------------

  function say(text, refused = false) {
    const status = byId("status");
    status.classList.toggle("refused", refused);
    status.textContent = "";
    // The same words twice are read out twice only if they were gone between.
    setTimeout(() => { status.textContent = text; }, 20);
  }

  // Dialogs ----------------------------------------------------------------------------------------------------------

  let cameFrom = null;

  function open(id) {
    const dialog = byId(id);
    if (!dialog || dialog.open) return;
    cameFrom = document.activeElement;
    const also = dialog.querySelector(".alike-also"), alike = byId("alike");
    if (also && alike) also.checked = alike.checked;
    dialog.showModal();
    (dialog.querySelector("[data-focus]") ?? dialog.querySelector("button:not(:disabled, [hidden]), a"))?.focus();
    dialog.addEventListener("close", () => {
      if (cameFrom?.isConnected) cameFrom.focus();
    }, {once: true});
  }

  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-dialog]");
    const closer = event.target.closest("[data-close]");
    const option = event.target.closest("#term-options [data-term]");
    if (opener) {
      event.preventDefault();
      event.stopPropagation();
      open(opener.dataset.dialog);
    } else if (closer) {
      event.preventDefault();
      event.stopPropagation();
      closer.closest("dialog")?.close();
    } else if (option) {
      choose(option);
    } else if (event.target.closest("#send-again")) {
      sendAgain();
    }
  }, true);

  // Another term: arrows in the list of suggestions ------------------------------------------------------------------

  const options = () => [...document.querySelectorAll("#term-options [data-term]")];

  function mark(option) {
    for (const other of options()) other.setAttribute("aria-selected", String(other === option));
    byId("term-text").setAttribute("aria-activedescendant", option ? option.id : "");
    option?.scrollIntoView({block: "nearest"});
  }

  function choose(option) {
    byId("term-text").value = option.dataset.term;
    byId("term-form").requestSubmit();
  }

  function inTermField(event) {
    const all = options(), at = all.findIndex((option) => option.getAttribute("aria-selected") === "true");
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (all.length) mark(all[(at + (event.key === "ArrowDown" ? 1 : all.length - 1) + all.length) % all.length]);
    } else if (event.key === "Enter" && at >= 0 && all[at].closest("ul").dataset.of === byId("term-text").value) {
      event.preventDefault();
      choose(all[at]);
    }
  }

  // Keys -------------------------------------------------------------------------------------------------------------

  function press(key) {
    for (const element of document.querySelectorAll("#screen [data-key]")) {
      if (element.dataset.key === key || element.dataset.also === key) {
        if (!element.disabled) element.click();
        else if (byId("lock")) say(byId("lock").querySelector("p").textContent, true);
        return true;
      }
    }
    return false;
  }

  document.addEventListener("keydown", (event) => {
    if (event.target.id === "term-text") inTermField(event);
    if (event.target.id === "note-text" && event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      event.target.form.requestSubmit();
    }
    if (event.defaultPrevented || event.isComposing || event.repeat || typing(event.target)) return;
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const sign = event.key === "?" || event.key === "/";   // on many keyboards these need the shift key
    if (event.shiftKey && !sign) return;
    const key = event.key.toLowerCase(), dialog = openDialog();
    let used = true;
    if (dialog) {
      const picks = [...dialog.querySelectorAll(".pick")];
      if (/^[1-9]$/.test(key) && picks[key - 1]) picks[key - 1].click();
      else used = false;
    } else if (key === "r" && pending) sendAgain();
    else if (key === "?") open("help");
    else if (key === "l" && byId("alike")) toggleAlike();
    else if (key === "c" && byId("dialog-settle")) open("dialog-settle");
    else if (key === "f" && byId("filter-text")) byId("filter-text").focus();
    else used = press(key);
    if (used) event.preventDefault();
  });

  function toggleAlike() {
    const alike = byId("alike");
    alike.checked = !alike.checked;
    alike.dispatchEvent(new Event("change", {bubbles: true}));
  }

  document.addEventListener("change", (event) => {
    if (event.target.id === "alike") {
      const {items, cells} = event.target.dataset;
      say(event.target.checked ? `The next decision holds for ${items} items, ${cells} cells.` : "The next decision holds for this item alone.");
    } else if (event.target.closest("#filters select")) {
      event.target.form.requestSubmit();
    }
  });

  // Presses that got no answer: kept with their key, sent again as they were -----------------------------------------

  let pending = null;      // {form, fields, lost, asked}
  let again = false;

  function newKey() {
    const random = crypto.getRandomValues(new Uint8Array(16));
    return [...random].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  const isPress = (element) => element.matches?.("form") && element.querySelector('input[name="key"]') !== null;

  document.addEventListener("htmx:configRequest", (event) => {
    const {elt, formData} = event.detail;
    if (!isPress(elt)) return;
    if (again && pending) {
      for (const name of [...formData.keys()]) formData.delete(name);
      for (const [name, value] of pending.fields) formData.append(name, value);
      again = false;
      return;
    }
    if (pending?.lost) {
      event.preventDefault();
      byId("send-again").focus();
      return;
    }
    formData.set("key", newKey());
    pending = {form: elt, fields: [...formData.entries()], lost: false};
  });

  async function sendAgain() {
    const waiting = pending;
    if (!waiting?.lost || !waiting.form.isConnected || waiting.asked) return;
    waiting.asked = true;
    say("Sending again.");
    const why = await entered(waiting);
    waiting.asked = false;
    if (waiting !== pending) return;
    if (why) {
      say("");
      keep(why);
      return;
    }
    again = true;
    waiting.form.noValidate = true;
    waiting.form.requestSubmit();
  }

  // Whoever was let in anew, as after a restart, has other form tokens; returns why the press cannot be sent, "" if it can.
  async function entered(waiting) {
    try {
      const answer = await fetch(location.href, {credentials: "same-origin"}), text = await answer.text();
      const page = new DOMParser().parseFromString(text, "text/html"), who = page.getElementById("reviewer")?.textContent;
      const token = page.querySelector('#screen input[name="csrf"]')?.value;
      if (!token) return page.getElementById("problem")?.textContent ?? "Log in again in another tab.";
      if (who !== byId("reviewer").textContent) return `This is ${byId("reviewer").textContent}’s page, and you are ${who} now.`;
      waiting.fields = waiting.fields.map(([name, value]) => [name, name === "csrf" ? token : value]);
      return "";
    } catch {
      return "No answer from the server.";
    }
  }

  function keep(text) {
    byId("lost-text").textContent = `${text} Nothing is lost: press R to send again.`;
    byId("lost").hidden = false;
  }

  function lost(event, text) {
    if (pending && event.detail.elt === pending.form) {
      pending.lost = true;
      openDialog()?.close();
      keep(text);
    } else {
      say(`${text} Try again.`, true);
    }
  }

  const problemIn = (text) => new DOMParser().parseFromString(text, "text/html").getElementById("problem")?.textContent;

  document.addEventListener("htmx:sendError", (event) => lost(event, "No answer from the server."));
  document.addEventListener("htmx:timeout", (event) => lost(event, "No answer from the server."));
  document.addEventListener("htmx:responseError", (event) => {
    const {xhr, elt} = event.detail, why = problemIn(xhr.responseText) ?? `The server answered ${xhr.status}.`;
    // With a session that is over it was not looked at: it waits until somebody has come in again.
    if (xhr.status >= 500 || (xhr.status === 403 && pending && elt === pending.form)) {
      lost(event, why);
      return;
    }
    if (pending && elt === pending.form) answered();
    openDialog()?.close();
    say(why, true);
  });

  function answered() {
    pending = null;
    byId("lost").hidden = true;
  }

  window.addEventListener("beforeunload", (event) => {
    if (pending?.lost) event.preventDefault();
  });

  // After a swap -----------------------------------------------------------------------------------------------------

  let before = screen()?.dataset.item, scrolled = 0;

  document.addEventListener("htmx:beforeSwap", () => {
    scrolled = document.querySelector("#queue")?.scrollTop ?? 0;
    before = screen()?.dataset.item;
  });

  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.target.id === "term-options") {
      const list = byId("term-options"), all = options();
      list.dataset.of = byId("term-text").value;
      byId("term-text").setAttribute("aria-expanded", String(all.length > 0));
      mark(all[0] ?? null);
      return;
    }
    if (pending && !pending.form.isConnected) answered();
    settle();
  });

  function settle() {
    const now = screen();
    if (!now) return;
    say(now.dataset.said);
    const queue = byId("queue");
    if (queue) {
      queue.scrollTop = scrolled;
      queue.querySelector("[aria-current=page]")?.scrollIntoView({block: "nearest"});
    }
    if (now.dataset.item !== before || document.activeElement === document.body) {
      byId("main")?.scrollTo(0, 0);
      toItem();
    }
  }

  // Where the columns scroll on their own the item is in sight; on small screens it stands below the list.
  function toItem() {
    byId("item-title")?.focus({preventScroll: true});
    if (document.documentElement.scrollHeight > window.innerHeight) byId("item-title")?.scrollIntoView({block: "start"});
  }

  byId("queue")?.querySelector("[aria-current=page]")?.scrollIntoView({block: "nearest"});
  toItem();
})();
