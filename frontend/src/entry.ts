// Home Assistant replaces `customElements` while its own scripts load: what is defined before that
// is lost. Its root element is defined afterwards. Pages without it, such as Cast, replace nothing.
if (document.querySelector("home-assistant")) {
  await window.customElements.whenDefined("home-assistant");
}
const main = `./main.js${new URL(import.meta.url).search}`;
await import(main);
export {};
