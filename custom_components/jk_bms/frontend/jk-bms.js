// Built from frontend/ by scripts/frontend: do not edit.
document.querySelector("home-assistant")&&await window.customElements.whenDefined("home-assistant");var e=`./main.js${new URL(import.meta.url).search}`;await(import(e));
