/** Text as HTML shows it. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}

/** A picture with its title, for the page to scale and to colour. Ids within the image are made its own, since a page has one space of them. */
export function figure({ title, svg }: { title: string; svg: string }, key: string): string {
  const own = svg
    .replace(/(\bid="|url\(#|href="#)/g, `$1${key}-`)
    .replace('<svg ', `<svg role="img" aria-label="${escapeHtml(title)}" `)
  return `<figure><figcaption>${escapeHtml(title)}</figcaption>${own}</figure>`
}
