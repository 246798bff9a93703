/** The frames of panels: a list, and a table. */

import type { ComponentChildren } from 'preact'

/** A panel with a list. The first word of its title is its class. */
export function ListPanel({
  title,
  label = title,
  children,
}: {
  readonly title: string
  readonly label?: string
  readonly children: ComponentChildren
}) {
  return (
    <section class={`panel ${/\w+/.exec(title.toLowerCase())?.[0]}`} aria-label={label}>
      <h2>{title}</h2>
      <ul class="list">{children}</ul>
    </section>
  )
}

/** A table with the names of its columns; those of `figures` are on the right. */
export function Table({
  texts,
  figures,
  none,
  children,
}: {
  readonly texts: readonly string[]
  readonly figures: readonly string[]
  /** The sentence of a table without rows. */
  readonly none: string | false
  readonly children: ComponentChildren
}) {
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr>
            {texts.map((name) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
            {figures.map((name) => (
              <th key={name} scope="col" class="right">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
      {none && <p class="none">{none}</p>}
    </div>
  )
}
