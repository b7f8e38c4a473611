// Making and moving about in elements. Text goes in as text, never as HTML.

export const by = (id) => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in e) e[name] = value;
    else e.setAttribute(name, value);
  }
  e.append(...children);
  return e;
}

// say sets a text, if it is another: a screen reader would read it again.
export function say(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

// tell shows a message, or hides its place when it is empty.
export function tell(e, text) {
  say(e, text);
  e.hidden = text === '';
}

// roving makes the buttons of a list, or of a table's rows, one stop of the Tab
// key. Arrow keys, Home and End move inside. It returns what is to be called when
// the list has changed.
export function roving(list) {
  const all = () => [...list.querySelectorAll(':scope > li:not([hidden]) > button, :scope > tr > th > button')];
  const choose = (button) => {
    for (const b of list.querySelectorAll(':scope > li > button, :scope > tr > th > button')) b.tabIndex = -1;
    button.tabIndex = 0;
  };
  list.addEventListener('focusin', (event) => {
    const button = event.target.closest('button');
    if (button?.closest('ul, ol, tbody') === list) choose(button);
  });
  list.addEventListener('keydown', (event) => {
    const buttons = all();
    const at = buttons.indexOf(document.activeElement);
    if (at < 0) return;
    const to = {ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1}[event.key];
    if (to === undefined) return;
    event.preventDefault();
    buttons[Math.min(Math.max(to, 0), buttons.length - 1)].focus();
  });
  return () => {
    const buttons = all();
    if (buttons.length > 0 && !buttons.some((b) => b.tabIndex === 0)) choose(buttons[0]);
  };
}
