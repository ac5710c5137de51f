// Tables that scroll sideways can be reached by keyboard.
new MutationObserver(() => document.querySelectorAll(".md-typeset__scrollwrap:not([tabindex])").forEach(one => { one.tabIndex = 0 }))
  .observe(document.documentElement, { childList: true, subtree: true });
