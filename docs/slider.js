// Gives the two pictures of every slider a divider that mouse, touch and arrow keys move.
for (const pair of document.querySelectorAll(".slider p")) {
  const [photo, result] = pair.querySelectorAll("img");
  const range = document.createElement("input");
  range.type = "range";
  range.step = "any"; // Dragged without steps; an arrow key moves by 1%.
  range.setAttribute("aria-label", `Divider. Left: ${photo.alt}. Right: ${result.alt}.`);
  range.oninput = () => {
    pair.style.setProperty("--divider", `${range.value}%`);
    range.setAttribute("aria-valuetext", `${Math.round(range.value)}%`);
  };
  range.oninput();
  pair.append(range);
  pair.classList.add("divided");
}
