(function () {
  var table = document.getElementById("layers"), body = table.tBodies[0];
  var rows = Array.prototype.slice.call(body.rows);
  function value(row, column) {
    var text = row.cells[column].textContent, number = parseFloat(text);
    return text === "inf" ? Infinity : column === 0 || column === 5 ? (isNaN(number) ? -1 : number) : text;
  }
  Array.prototype.forEach.call(table.tHead.rows[0].cells, function (head, column) {
    var button = document.createElement("button"), down = false;
    button.type = "button";
    button.textContent = head.textContent;
    head.textContent = "";
    head.appendChild(button);
    button.addEventListener("click", function () {
      Array.prototype.forEach.call(table.tHead.rows[0].cells, function (other) {
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
  var filter = document.getElementById("filter");
  filter.hidden = false;
  filter.querySelector("input").addEventListener("input", function (event) {
    var wanted = event.target.value.toLowerCase();
    rows.forEach(function (row) {
      row.hidden = row.textContent.toLowerCase().indexOf(wanted) < 0;
    });
  });
  function open() {
    var there = location.hash && document.getElementById(location.hash.slice(1));
    if (there && there.tagName === "DETAILS") there.open = true;
  }
  addEventListener("hashchange", open);
  open();
})();
