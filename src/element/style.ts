/**
 * The look. Colours follow the page: text is the page's own, the rest is `light-dark()` by the `color-scheme` of the page,
 * and where a browser does not know that, the bar has the colour of the text. Set close: every page loads it.
 */
const CSS = `
:host{display:grid;grid-template-columns:1fr auto auto;gap:.4em .75em;align-items:baseline;overflow-wrap:anywhere}
:host([hidden]){display:none}
[part=bar]{grid-column:1/4;overflow:hidden;height:var(--job-progress-height,.5em);border-radius:var(--job-progress-radius,1em);
color:var(--job-progress-color,light-dark(#2563eb,#60a5fa));
background:var(--job-progress-track,color-mix(in srgb,currentcolor 18%,transparent))}
:host([state=done]) [part=bar]{color:var(--job-progress-done,light-dark(#15803d,#4ade80))}
:host([state=error]) [part]{color:var(--job-progress-error,light-dark(#b91c1c,#f87171))}
[part=fill]{width:0;height:100%;border-radius:inherit;background:currentcolor;transition:width .4s}
:host([state=pending]) [part=fill]{width:40%;animation:wait 1.6s ease-in-out infinite}
@keyframes wait{0%{transform:translate(-100%)}to{transform:translate(250%)}}
@media (prefers-reduced-motion){[part=fill]{transition:none}:host([state=pending]) [part=fill]{width:100%;opacity:.4;animation:none}}
@media (forced-colors:active){[part=bar]{border:1px solid}[part=fill]{background:Highlight;forced-color-adjust:none}}`

/** Styles a shadow root in a way that a strict Content-Security-Policy allows, which refuses a `<style>`. */
export function applyStyle(root: ShadowRoot): void {
  const sheet = new CSSStyleSheet()
  sheet.replaceSync(CSS)
  root.adoptedStyleSheets = [sheet]
}
