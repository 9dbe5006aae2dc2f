/** The build minifies style sheets to strings. */
declare module "*.css" {
  const text: string;
  export default text;
}
