/** Colours a text, where the terminal has colours. */
export type Paint = (style: 'bold' | 'dim' | 'red' | 'green', text: string) => string
