// Before anything is drawn, so that a dark page does not begin with a flash of white.
document.documentElement.toggleAttribute("data-dark", matchMedia("(prefers-color-scheme: dark)").matches);
