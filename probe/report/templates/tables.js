(function () {
  function each(list, what) {
    Array.prototype.forEach.call(list, what);
  }
  function sortable(table) {
    var body = table.tBodies[0], heads = table.tHead.rows[0].cells;
    var rows = Array.prototype.slice.call(body.rows);
    function value(row, column) {
      var text = row.cells[column].textContent;
      if (!heads[column].hasAttribute("data-number")) return text;
      if (text === "inf") return Infinity;
      var number = parseFloat(text.replace(">", ""));
      return isNaN(number) ? -1 : number;
    }
    each(heads, function (head, column) {
      var button = document.createElement("button"), down = false;
      button.type = "button";
      button.textContent = head.textContent;
      head.textContent = "";
      head.appendChild(button);
      button.addEventListener("click", function () {
        each(heads, function (other) {
          other.removeAttribute("aria-sort");
        });
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        rows.sort(function (a, b) {
          var x = value(a, column), y = value(b, column), order = x < y ? -1 : x > y ? 1 : 0;
          return down ? -order : order;
        });
        down = !down;
        rows.forEach(function (row) { body.appendChild(row); });
      });
    });
    return rows;
  }
  each(document.querySelectorAll("table.sortable"), function (table) {
    var rows = sortable(table), filter = table.parentNode.previousElementSibling;
    if (!filter || filter.className !== "filter") return;
    filter.hidden = false;
    filter.querySelector("input").addEventListener("input", function (event) {
      var wanted = event.target.value.toLowerCase();
      rows.forEach(function (row) {
        row.hidden = row.textContent.toLowerCase().indexOf(wanted) < 0;
      });
    });
  });
  function sign() {
    each(document.querySelectorAll(".wide"), function (wide) {
      wide.classList.toggle("scrolls", wide.scrollWidth > wide.clientWidth + 1);
    });
  }
  addEventListener("resize", sign);
  addEventListener("toggle", sign, true);
  sign();
  function open() {
    var there = location.hash && document.getElementById(location.hash.slice(1));
    if (there && there.tagName === "DETAILS") there.open = true;
  }
  addEventListener("hashchange", open);
  open();
})();
