/** The value of `--import` with which `node` runs the TypeScript of the clone. */
export const typescript: string = import.meta.resolve('tsx')
