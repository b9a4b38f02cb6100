// Run lengths as the string that COCO and its tools use.

// Every count but the first three is written as its difference from the count two places before, in groups of five
// bits, the lowest first; a sixth bit says that another group follows; 48 is added to make them letters.
export function cocoString(counts) {
  let text = "";
  counts.forEach((count, i) => {
    let left = i > 2 ? count - counts[i - 2] : count;
    for (let more = true; more;) {
      const group = left & 31;
      left >>= 5;
      more = group & 16 ? left !== -1 : left !== 0;
      text += String.fromCharCode(48 + (more ? group | 32 : group));
    }
  });
  return text;
}
