// Before anything is drawn: that there are scripts, and the colours that were chosen.
document.documentElement.dataset.script = "1";
try {
  const theme = localStorage.getItem("spantree.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch { /* storage may be forbidden: the system's colours then */ }
