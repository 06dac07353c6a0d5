// Checks for accessibility problems.

/** Runs in the page. Finds texts whose contrast is below 4.5 (WCAG 2.2, 1.4.3), and controls without an accessible name. */
export function audit() {
  const channel = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const luminance = ([red, green, blue]) =>
    0.2126 * channel(red / 255) + 0.7152 * channel(green / 255) + 0.0722 * channel(blue / 255);
  const color = (text) => {
    const [red, green, blue, alpha = 1] = text.match(/[\d.]+/g).map(Number);
    return [red, green, blue, alpha];
  };
  const over = ([red, green, blue, alpha], ground) =>
    [red, green, blue].map((value, at) => alpha * value + (1 - alpha) * ground[at]);
  const groundOf = (element) => {
    if (element === null) return [255, 255, 255];
    const own = color(getComputedStyle(element).backgroundColor);
    return own[3] === 1 ? own : over(own, groundOf(element.parentElement));
  };
  const contrastOf = (element, pseudo) => {
    const style = getComputedStyle(element, pseudo);
    const ground = groundOf(element);
    const [light, dark] = [luminance(over(color(style.color), ground)), luminance(ground)].sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
  };
  const isSeen = (element) =>
    element.checkVisibility({ visibilityProperty: true }) && element.closest(".visually-hidden") === null;
  const describe = (element) =>
    `${element.tagName.toLowerCase()}#${element.id}.${element.className}: ${(element.textContent || element.placeholder || "").slice(0, 40)}`;

  const contrast = [];
  let texts = 0;
  const measure = (element, pseudo) => {
    texts++;
    const ratio = contrastOf(element, pseudo);
    if (!(ratio >= 4.5)) contrast.push(`${ratio.toFixed(2)} ${describe(element)}`);
  };
  for (const element of document.body.querySelectorAll("*")) {
    // Disabled controls need not be readable.
    if (!isSeen(element) || element.disabled || element.closest("svg, script, style") !== null) continue;
    if ([...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim() !== ""))
      measure(element);
    if (element.matches("input, textarea")) {
      measure(element);
      if (element.placeholder) measure(element, "::placeholder");
    }
  }

  const names = [];
  for (const control of document.body.querySelectorAll(
    "input, textarea, button, select, [tabindex='0'], [role=img], nav, section",
  )) {
    const by = control.getAttribute("aria-labelledby");
    const isButton = control.matches("button");
    const name =
      control.getAttribute("aria-label") ||
      (by && document.getElementById(by)?.textContent) ||
      [...(control.labels ?? [])].map(({ textContent }) => textContent).join("") ||
      (isButton ? control.textContent : "");
    if (name.trim() === "") names.push(describe(control));
  }
  return { texts, contrast, names };
}
